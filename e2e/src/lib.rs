//! End-to-end tests with real microVMs.
