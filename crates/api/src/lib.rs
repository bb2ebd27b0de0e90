//! Public wire types, problems (RFC 9457) and the OpenAPI document.
