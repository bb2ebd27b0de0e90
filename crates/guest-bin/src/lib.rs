//! The guest agent as bytes, built for the guest and carried inside the hearth binary.
