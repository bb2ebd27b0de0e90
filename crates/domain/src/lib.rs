//! Pure model: specs, states, transitions, planners. No I/O, no clock, no tokio.
