//! Secret with the password: made once, never overwritten.

use serde_json::{Value, json};

use super::metadata;
use crate::crd::desired::Desired;

/// The Secret to create with this password.
pub fn secret(desired: &Desired, password: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(desired, &desired.secret, "auth"),
        "type": "Opaque",
        "stringData": {"password": password},
    })
}
