//! Chains of assistants: a pushed source tree becomes a running app, whichever process dies on the way.
