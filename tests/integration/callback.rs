//! The way back from the provider, whatever the browser or the provider sends.
