//! Events: what was decided, where people look for it (`kubectl describe`, `kubectl get events`).
//!
//! Each note becomes an Event of its own. Those that say the same thing again are left out by whoever tells them, so
//! two different messages never hide each other behind one reason.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::decide::Note;
use crate::observe::caches::resource_kind;
use crate::render::MANAGER;

/// Longest message that the API takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Makes an Event about a resource; `instance` is who says it.
///
/// # Errors
/// Where the API server does not take it.
pub async fn publish(
    client: &Client,
    instance: &str,
    about: &DynamicObject,
    note: &Note,
) -> Result<(), kube::Error> {
    let kind = resource_kind();
    let namespace = about.namespace().unwrap_or_default();
    let regarding = ObjectReference {
        api_version: Some(kind.api_version),
        kind: Some(kind.kind),
        namespace: Some(namespace.clone()),
        name: Some(about.name_any()),
        uid: about.uid(),
        resource_version: about.resource_version(),
        ..ObjectReference::default()
    };
    let event = Event {
        metadata: ObjectMeta {
            // The API server takes no generated name that ends in a dot.
            generate_name: Some(format!("{}-", about.name_any())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.to_owned()),
        action: Some(note.reason.to_owned()),
        note: Some(shortened(&note.message)),
        event_time: Some(MicroTime(Timestamp::now())),
        reporting_controller: Some(MANAGER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        regarding: Some(regarding),
        ..Event::default()
    };
    Api::<Event>::namespaced(client.clone(), &namespace)
        .create(&PostParams::default(), &event)
        .await
        .map(|_| ())
}

fn shortened(message: &str) -> String {
    let mut end = message.len().min(MAX_NOTE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(600);
        assert_eq!(shortened(&long).len(), 1024);
        assert_eq!(shortened(&format!("a{long}")).len(), 1023);
    }
}
