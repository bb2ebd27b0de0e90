//! Slots: namespaces, taps, addresses, rules.
