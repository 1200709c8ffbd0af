//! Observation: API objects from the caches, one bounded question to each member, put together into a [`Snapshot`].

pub mod caches;
pub mod memory;
pub mod probe;
pub mod resp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datanode::shardmap::NodeAddr;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret as SecretObject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::crd::desired::{Desired, pod_of};
use crate::crd::units;
use crate::render::{APPLIED, Kind, NAME, ROLE, Settings, TEMPLATE};
use crate::snapshot::{Answer, Existing, Failure, PodView, Probe, Record, Secret, SetView, Snapshot};
use caches::Caches;
use memory::Memory;

/// Annotation of a pod with what its process was last told at run time.
pub const CONFIG: &str = "redis.replicaset.dev/config";
/// Key of the record in the ConfigMap `NAME-map`.
pub const RECORD: &str = "record.json";
/// Time after which the password is read again, milliseconds.
const PASSWORD_AGE_MS: u64 = 5_000;
/// Time after which an object is applied again though nothing in it has changed, milliseconds.
const REAPPLY_MS: u64 = 60_000;
/// Time for the answer of who has just been silent for a whole probe: its silence is known, and an election should not
/// wait for it at every step.
const HASTY_PROBE: Duration = Duration::from_millis(200);
/// For so long after that probe. Later it may be needed, slow as it is.
const HASTE: Duration = Duration::from_secs(5);
/// What a container waits for that will not come by itself.
const WAITING_IS_TROUBLE: &[&str] = &[
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// Why a resource could not be observed.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The API server did not answer as expected.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The record is not what the operator writes.
    #[error(
        "the ConfigMap {name} cannot be read: {why}; restore it, or delete it to have it learned from the members"
    )]
    Record {
        /// Name of the ConfigMap.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The kernel gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] std::io::Error),
}

/// Unix time, milliseconds.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Where a member or sentinel can be reached now.
pub fn address(pods: &BTreeMap<String, Pod>, place: &NodeAddr) -> Option<SocketAddr> {
    let ip: IpAddr = pods.get(pod_of(place.as_str()))?.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, place.port()))
}

/// The pods of a resource, by name.
pub fn pods(caches: &Caches, desired: &Desired) -> BTreeMap<String, Pod> {
    let ours = ours(&caches.pods, desired);
    ours.into_iter().map(|pod| (pod.name_any(), (*pod).clone())).collect()
}

/// The members and the sentinels to ask: those that are wanted, and those that there still are.
pub fn places(desired: &Desired, record: Option<&Record>) -> (BTreeSet<NodeAddr>, BTreeSet<NodeAddr>) {
    let place = |text: String| NodeAddr::try_from(text).ok();
    let ordinals = || 0..desired.members_per_shard();
    let mut members: BTreeSet<NodeAddr> = (0..desired.masters)
        .flat_map(|shard| ordinals().filter_map(move |ordinal| place(desired.member(shard, ordinal))))
        .collect();
    let mut sentinels: BTreeSet<NodeAddr> =
        (0..desired.sentinels).filter_map(|ordinal| place(desired.sentinel(ordinal))).collect();
    if let Some(record) = record {
        members.extend(record.map.shards.iter().flat_map(|shard| shard.members.iter().cloned()));
        sentinels.extend(record.map.sentinels.iter().cloned());
    }
    (members, sentinels)
}

/// Looks at everything.
///
/// # Errors
/// [`ObserveError`] where a decision cannot be made on what was seen.
pub async fn observe(
    client: &Client,
    caches: &Caches,
    desired: Desired,
    settings: &Settings,
    memory: &mut Memory,
) -> Result<Snapshot, ObserveError> {
    let now = now_ms();
    let record = record(caches, &desired)?;
    let secret = secret(client, &desired, memory, now).await?;
    let pods = pods(caches, &desired);

    let (members, sentinels) = places(&desired, record.as_ref());
    let password = memory.password.as_ref().map(|(password, _)| password.clone());
    let limit = |place: &NodeAddr| patience(memory.heard.get(place).copied(), now);
    let (members, sentinels) = tokio::join!(
        ask_all(&members, limit, &pods, password.as_deref()),
        ask_all(&sentinels, limit, &pods, password.as_deref())
    );
    // A silence has lasted until its question was given up.
    let now = now_ms();
    let members = members.into_iter().map(|heard| remember(memory, heard)).collect();
    let sentinels = sentinels.into_iter().map(|heard| remember(memory, heard)).collect();
    if let Some(record) = &record {
        memory.forget_old_promises(record);
    }

    Ok(Snapshot {
        now_ms: now,
        secret,
        objects: objects(caches, &desired, memory, now),
        sets: sets(caches, &desired),
        claims: claims(caches, &desired),
        config: config_map(caches, &desired.namespace, &desired.config_name())
            .and_then(|map| serde_json::from_str(map.data?.get("directives.json")?).ok()),
        pods: pods.iter().map(|(name, pod)| (name.clone(), view(pod))).collect(),
        record,
        members,
        sentinels,
        promises: memory.promises.clone(),
        failures: memory.failures.clone(),
        last_disruption_ms: memory.last_disruption_ms,
        fresh_dataset: random_hex(20)?,
        settings: settings.clone(),
        desired,
    })
}

/// So many random bytes of the kernel's, in hexadecimal.
pub fn random_hex(bytes: usize) -> std::io::Result<String> {
    use std::io::Read;
    let mut random = vec![0; bytes];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How long the answer of a member is waited for that was last heard at a time, Unix milliseconds.
pub fn patience(heard: Option<u64>, now: u64) -> Duration {
    let silent = Duration::from_millis(now.saturating_sub(heard.unwrap_or(now)));
    let hasty = silent >= resp::PROBE && silent < resp::PROBE + HASTE;
    if hasty { HASTY_PROBE } else { resp::PROBE }
}

/// An answer, or its absence, and when that was known, Unix milliseconds.
pub type Heard<T> = (NodeAddr, Result<Answer<T>, Failure>, u64);

async fn ask_all<T: DeserializeOwned>(
    places: &BTreeSet<NodeAddr>,
    limit: impl Fn(&NodeAddr) -> Duration,
    pods: &BTreeMap<String, Pod>,
    password: Option<&str>,
) -> Vec<Heard<T>> {
    join_all(places.iter().map(|place| {
        let limit = limit(place);
        async move {
            let answer = match (address(pods, place), password) {
                (Some(at), Some(password)) => probe::ask(at, password, limit).await,
                _ => Err(Failure::Absent),
            };
            (place.clone(), answer, now_ms())
        }
    }))
    .await
}

/// Takes in when somebody was last heard of.
pub fn remember<T>(memory: &mut Memory, (at, answer, when): Heard<T>) -> (NodeAddr, Probe<T>) {
    let heard = memory.heard.entry(at.clone()).or_insert(when);
    if answer.is_ok() {
        *heard = when;
    }
    let silent_since_ms = *heard;
    (at, Probe { answer, silent_since_ms })
}

fn ours<K>(store: &kube::runtime::reflector::Store<K>, desired: &Desired) -> Vec<std::sync::Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(|object| {
        object.namespace().as_deref() == Some(&desired.namespace)
            && object.labels().get(NAME) == Some(&desired.name)
    })
}

fn config_map(caches: &Caches, namespace: &str, name: &str) -> Option<ConfigMap> {
    caches.config_maps.get(&ObjectRef::new(name).within(namespace)).map(|map| (*map).clone())
}

fn record(caches: &Caches, desired: &Desired) -> Result<Option<Record>, ObserveError> {
    let name = desired.map_name();
    let Some(map) = config_map(caches, &desired.namespace, &name) else { return Ok(None) };
    let why = |why: String| ObserveError::Record { name: name.clone(), why };
    let text = map
        .data
        .as_ref()
        .and_then(|data| data.get(RECORD))
        .ok_or_else(|| why(format!("it has no key {RECORD}")))?;
    let mut record: Record = serde_json::from_str(text).map_err(|error| why(error.to_string()))?;
    record.map.validate().map_err(|error| why(error.to_string()))?;
    record.resource_version = map.resource_version();
    Ok(Some(record))
}

async fn secret(
    client: &Client,
    desired: &Desired,
    memory: &mut Memory,
    now: u64,
) -> Result<Secret, ObserveError> {
    if memory.password.as_ref().is_some_and(|(_, read)| now.saturating_sub(*read) < PASSWORD_AGE_MS) {
        return Ok(Secret::Usable);
    }
    memory.password = None;
    let api: Api<SecretObject> = Api::namespaced(client.clone(), &desired.namespace);
    let Some(secret) = api.get_opt(&desired.secret).await? else { return Ok(Secret::Absent) };
    let password = secret
        .data
        .and_then(|mut data| data.remove("password"))
        .and_then(|bytes| String::from_utf8(bytes.0).ok());
    // A line break at the end is what an editor leaves, and the datanode takes it off as well.
    let password =
        password.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty());
    Ok(match password {
        Some(password) => {
            memory.password = Some((password, now));
            Secret::Usable
        }
        None => Secret::Empty,
    })
}

fn objects(
    caches: &Caches,
    desired: &Desired,
    memory: &Memory,
    now: u64,
) -> BTreeMap<(Kind, String), Existing> {
    let mut all = BTreeMap::new();
    let mut add = |kind: Kind, meta: &ObjectMeta| {
        let at = (kind, meta.name.clone().unwrap_or_default());
        let owner = meta.owner_references.iter().flatten().any(|owner| owner.uid == desired.owner.uid);
        let existing = Existing {
            hash: meta.annotations.as_ref().and_then(|notes| notes.get(APPLIED).cloned()),
            foreign: !owner,
            stale: memory.applied.get(&at).is_none_or(|applied| now.saturating_sub(*applied) > REAPPLY_MS),
        };
        all.insert(at, existing);
    };
    ours(&caches.services, desired).iter().for_each(|object| add(Kind::Service, &object.metadata));
    ours(&caches.config_maps, desired).iter().for_each(|object| add(Kind::ConfigMap, &object.metadata));
    ours(&caches.budgets, desired).iter().for_each(|object| add(Kind::PodDisruptionBudget, &object.metadata));
    ours(&caches.sets, desired).iter().for_each(|object| add(Kind::StatefulSet, &object.metadata));
    all
}

fn sets(caches: &Caches, desired: &Desired) -> BTreeMap<String, SetView> {
    let sets = ours(&caches.sets, desired);
    let view = |set: &k8s_openapi::api::apps::v1::StatefulSet| {
        let spec = set.spec.as_ref();
        let claim = spec.and_then(|spec| {
            spec.volume_claim_templates
                .as_ref()?
                .first()?
                .spec
                .as_ref()?
                .resources
                .as_ref()?
                .requests
                .as_ref()?
                .get("storage")
                .cloned()
        });
        SetView {
            pods: spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0) as u32,
            claim: claim.map(|size| size.0),
        }
    };
    sets.iter().map(|set| (set.name_any(), view(set))).collect()
}

fn claims(caches: &Caches, desired: &Desired) -> BTreeMap<String, u64> {
    let prefix = format!("data-{}-", desired.name);
    ours(&caches.claims, desired)
        .iter()
        .filter(|claim| {
            // Data pods only: NAME-SHARD-ORDINAL.
            let rest = claim.name_any().strip_prefix(&prefix).map(str::to_owned).unwrap_or_default();
            rest.starts_with(|first: char| first.is_ascii_digit())
                && claim.metadata.deletion_timestamp.is_none()
        })
        .filter_map(|claim| {
            let size = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?;
            Some((claim.name_any(), units::quantity(&size.0).ok()?))
        })
        .collect()
}

fn view(pod: &Pod) -> PodView {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let condition =
        |kind: &str| conditions.and_then(|all| all.iter().find(|condition| condition.type_ == kind));
    let notes = pod.annotations();
    PodView {
        uid: pod.uid().unwrap_or_default(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
        role: pod.labels().get(ROLE).cloned(),
        template: notes.get(TEMPLATE).cloned(),
        config: notes.get(CONFIG).cloned(),
        trouble: condition("PodScheduled")
            .filter(|condition| condition.status == "False")
            .and_then(|condition| condition.message.clone())
            .map(|why| format!("no node for it: {why}"))
            .or_else(|| container_trouble(pod)),
    }
}

fn container_trouble(pod: &Pod) -> Option<String> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| WAITING_IS_TROUBLE.contains(reason))?;
    // The last words of the process say more than that it is being waited for.
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let words = last.and_then(|last| last.message.as_deref()).filter(|words| !words.trim().is_empty());
    let detail = words.map(last_line).or(waiting.message.as_deref()).unwrap_or_default();
    Some(format!("{reason}: {detail}"))
}

fn last_line(words: &str) -> &str {
    let line = words.trim().lines().last().unwrap_or_default();
    line.char_indices().nth(400).map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_missed_a_probe_is_waited_for_less_for_a_while() {
        assert_eq!(patience(None, 10_000), resp::PROBE);
        assert_eq!(patience(Some(9_500), 10_000), resp::PROBE);
        assert_eq!(patience(Some(9_000), 10_000), HASTY_PROBE);
        assert_eq!(patience(Some(4_001), 10_000), HASTY_PROBE);
        assert_eq!(patience(Some(4_000), 10_000), resp::PROBE);
    }
}
