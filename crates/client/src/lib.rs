//! Client of the API.
