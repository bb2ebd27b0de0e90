"""The code interpreter of a sandbox: takes code by HTTP, runs it in kernels that keep their state, streams what comes of it.

    client ──HTTP──► http_api ──► contexts ──► context ──► kernel ──► process
                        ▲                        │
                        └────── execution ◄──────┘
                         a bounded queue of events

A *context* is a language, a working folder and the state that its executions share; its *kernel* is the process that holds
this state. Executions of one context wait in line; contexts do not know of each other.
"""
