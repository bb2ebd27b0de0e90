//! The contract between host and guest: messages, Connect framing, and the host's client.
