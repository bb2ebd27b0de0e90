//! The driver trait, its conformance suite, the fake driver, and how a VMM process is launched.
