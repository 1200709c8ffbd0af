//! Caches of the objects that carry our labels, kept current by watches, and of the resources themselves.
//!
//! Contract: whoever is touched is reported to `touched` as (namespace, name of the resource). Nothing that is not
//! ours is kept. A resource that does not parse is kept as it is: it must not stop the others.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::crd::RedisReplicaSet;
use crate::render::NAME;

/// Namespace and name of a resource.
pub type Key = (String, String);

/// Told of every key that something happened to.
pub type Touched = Arc<dyn Fn(Key) + Send + Sync>;

/// All caches.
#[derive(Clone)]
pub struct Caches {
    /// The resources, unparsed.
    pub resources: Store<DynamicObject>,
    /// Pods.
    pub pods: Store<Pod>,
    /// StatefulSets.
    pub sets: Store<StatefulSet>,
    /// Services.
    pub services: Store<Service>,
    /// ConfigMaps.
    pub config_maps: Store<ConfigMap>,
    /// PodDisruptionBudgets.
    pub budgets: Store<PodDisruptionBudget>,
    /// Volume claims.
    pub claims: Store<PersistentVolumeClaim>,
}

/// Kind of the resource for the dynamic API.
pub fn resource_kind() -> ApiResource {
    ApiResource::erase::<RedisReplicaSet>(&())
}

impl Caches {
    /// Starts the watches, in one namespace or all, and waits until every cache is filled.
    pub async fn start(client: &Client, namespace: Option<&str>, touched: Touched) -> Self {
        let kind = resource_kind();
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        let writer = Writer::new(kind);
        let resources = writer.as_reader();
        let own = |object: &DynamicObject| Some((object.namespace()?, object.name_any()));
        tokio::spawn(watch(api, watcher::Config::default(), writer, touched.clone(), own));
        let caches = Self {
            resources,
            pods: children(client, namespace, &touched),
            sets: children(client, namespace, &touched),
            services: children(client, namespace, &touched),
            config_maps: children(client, namespace, &touched),
            budgets: children(client, namespace, &touched),
            claims: children(client, namespace, &touched),
        };
        // An error means that the watch has ended, which it does only with the process.
        let _ = caches.resources.wait_until_ready().await;
        let _ = caches.pods.wait_until_ready().await;
        let _ = caches.sets.wait_until_ready().await;
        let _ = caches.services.wait_until_ready().await;
        let _ = caches.config_maps.wait_until_ready().await;
        let _ = caches.budgets.wait_until_ready().await;
        let _ = caches.claims.wait_until_ready().await;
        caches
    }
}

fn children<K>(client: &Client, namespace: Option<&str>, touched: &Touched) -> Store<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (reader, writer) = store();
    let owner = |object: &K| Some((object.namespace()?, object.labels().get(NAME)?.clone()));
    tokio::spawn(watch(api, watcher::Config::default().labels(NAME), writer, touched.clone(), owner));
    reader
}

async fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    touched: Touched,
    key: impl Fn(&K) -> Option<Key>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let stream = watcher(api, config)
        .default_backoff()
        .modify(|object: &mut K| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects();
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(object) => {
                if let Some(key) = key(&object) {
                    touched(key);
                }
            }
            Err(error) => warn!(%error, "a watch broke off and is tried again"),
        }
    }
}
