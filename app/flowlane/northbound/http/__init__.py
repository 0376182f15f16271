"""HTTP of REST: server, TLS, access, dispatch, and the forms of answers."""
