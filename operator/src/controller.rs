//! The one way through: observe, decide, act, status, wait. Each resource has a task of its own, woken by whatever
//! touches its objects, by a sentinel's word of a failover, or when the plan says to look again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::act::{self, Actor};
use crate::crd::RedisReplicaSet;
use crate::crd::desired::Desired;
use crate::crd::status::{RedisReplicaSetStatus, ShardStatus};
use crate::decide::{self, Note, Plan};
use crate::events;
use crate::observe::caches::{Caches, Key, resource_kind};
use crate::observe::memory::Memory;
use crate::observe::{self, now_ms, resp};
use crate::render::Settings;
use crate::snapshot::Snapshot;
use crate::status;
use crate::telemetry::{self, Metric};

/// Keys that wait to be seen by the dispatcher; more wait with the watches.
const QUEUE: usize = 1024;
/// Time for one look at a resource with all its actions.
const RECONCILE: Duration = Duration::from_secs(120);
/// First and longest pause after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Pause after a plan with actions, so that caches can see what they did.
pub const AFTER_ACTION: Duration = Duration::from_millis(100);
/// Least time between two writes of the status for the sake of offsets alone.
const OFFSETS: Duration = Duration::from_secs(30);
/// The same event is not told again within this time.
const REPEAT: Duration = Duration::from_secs(300);

/// What the tasks share.
struct Shared {
    client: Client,
    caches: Caches,
    settings: Settings,
    instance: String,
}

/// Looks after all resources, in one namespace or all, for as long as the process lives.
pub async fn run(client: Client, namespace: Option<String>, settings: Settings, instance: String) {
    let (sender, mut keys) = mpsc::channel::<Key>(QUEUE);
    let pending: Arc<Mutex<HashMap<Key, Arc<Notify>>>> = Arc::default();
    let known = pending.clone();
    // Whoever has a task is woken directly; the dispatcher hears only of those that have none.
    let touched = Arc::new(move |key: Key| {
        let notify = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        match notify {
            Some(notify) => notify.notify_one(),
            None => drop(sender.try_send(key)),
        }
    });
    let caches = Caches::start(&client, namespace.as_deref(), touched).await;
    telemetry::ready();
    let shared = Arc::new(Shared { client, caches, settings, instance });
    // Dropped with this future, and all tasks with it.
    let mut running = JoinSet::new();
    let mut tasks: HashMap<Key, AbortHandle> = HashMap::new();
    loop {
        for resource in shared.caches.resources.state() {
            let Some(at) = resource.namespace() else { continue };
            let key = (at, resource.name_any());
            if tasks.get(&key).is_some_and(|task| !task.is_finished()) {
                continue;
            }
            let notify = Arc::new(Notify::new());
            pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), notify.clone());
            let span = info_span!("look", resource = format!("{}/{}", key.0, key.1));
            info!(namespace = key.0, name = key.1, "looking after it");
            tasks
                .insert(key.clone(), running.spawn(look_after(shared.clone(), key, notify).instrument(span)));
        }
        while running.try_join_next().is_some() {}
        tasks.retain(|key, task| {
            if task.is_finished() {
                pending.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            }
            !task.is_finished()
        });
        telemetry::set(
            Metric::Resources,
            &[("watched", namespace.as_deref().unwrap_or(""))],
            tasks.len() as f64,
        );
        // A key that found no place in the queue is seen at the next round.
        let _ = timeout(Duration::from_secs(5), keys.recv()).await;
        while keys.try_recv().is_ok() {}
    }
}

/// Looks after one resource until it is gone.
async fn look_after(shared: Arc<Shared>, key: Key, wake: Arc<Notify>) {
    let mut task = Task {
        shared,
        key,
        wake,
        memory: Memory::default(),
        listeners: HashMap::new(),
        told: BTreeMap::new(),
        failures: 0,
    };
    loop {
        let started = Instant::now();
        let result = timeout(RECONCILE, task.look()).await;
        let (pause, word) = match result {
            Ok(Ok(Some(pause))) => {
                task.failures = 0;
                (pause, "ok")
            }
            Ok(Ok(None)) => break,
            Ok(Err(())) => (task.backoff(), "error"),
            Err(_) => {
                error!("a look at the resource took too long and was given up");
                (task.backoff(), "timeout")
            }
        };
        telemetry::add(Metric::Reconciles, &[("result", word)], 1.0);
        telemetry::add(Metric::ReconcileSeconds, &[], started.elapsed().as_secs_f64());
        telemetry::add(Metric::ReconcileCount, &[], 1.0);
        tokio::select! {
            () = task.wake.notified() => sleep(Duration::from_millis(20)).await,
            () = sleep(pause) => {}
        }
    }
    telemetry::forget(&task.key.0, &task.key.1);
    info!("the resource is gone");
}

struct Task {
    shared: Arc<Shared>,
    key: Key,
    wake: Arc<Notify>,
    memory: Memory,
    /// Who listens to which sentinel.
    listeners: HashMap<SocketAddr, AbortHandle>,
    /// Events of late, by reason and message, and when each was told.
    told: BTreeMap<(&'static str, String), Instant>,
    failures: u32,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.listeners.values().for_each(AbortHandle::abort);
    }
}

impl Task {
    /// One look. The pause until the next one; None: the resource is gone.
    async fn look(&mut self) -> Result<Option<Duration>, ()> {
        let (namespace, name) = self.key.clone();
        let reference = ObjectRef::new_with(&name, resource_kind()).within(&namespace);
        let Some(object) = self.shared.caches.resources.get(&reference) else { return Ok(None) };
        if object.metadata.deletion_timestamp.is_some() {
            // What belongs to it goes with it; nothing is to be made again.
            return Ok(Some(Duration::from_secs(5)));
        }
        let generation = object.metadata.generation;
        if self.memory.generation != generation {
            // What failed may do with what has changed.
            self.memory.generation = generation;
            self.memory.failures = Default::default();
        }
        let before: Option<RedisReplicaSetStatus> =
            object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
        let resource: RedisReplicaSet = match serde_json::to_value(&*object).and_then(serde_json::from_value)
        {
            Ok(resource) => resource,
            Err(error) => {
                let why = format!("the resource cannot be read: {error}");
                return self.refuse(&object, "Malformed", &why, before.as_ref()).await;
            }
        };
        let desired = match Desired::of(&resource) {
            Ok(desired) => desired,
            Err(refused) => {
                return self.refuse(&object, "Refused", &refused.to_string(), before.as_ref()).await;
            }
        };
        let shared = self.shared.clone();
        let seen =
            observe::observe(&shared.client, &shared.caches, desired, &shared.settings, &mut self.memory)
                .await;
        let snapshot = match seen {
            Ok(snapshot) => snapshot,
            Err(error) => {
                warn!(%error, "the resource could not be observed");
                self.refuse(&object, "CannotObserve", &error.to_string(), before.as_ref()).await?;
                return Err(());
            }
        };
        self.listen(&snapshot);
        let plan = decide::decide(&snapshot);
        let done = self.act(&snapshot, &plan, &object).await;
        self.report(&snapshot, &plan, &object, before.as_ref()).await;
        match done {
            Ok(0) => Ok(Some(Duration::from_millis(plan.requeue_ms))),
            Ok(_) => Ok(Some(AFTER_ACTION)),
            Err(()) => Err(()),
        }
    }

    /// Carries out the plan; the number of its actions that change something.
    async fn act(&mut self, snapshot: &Snapshot, plan: &Plan, object: &DynamicObject) -> Result<usize, ()> {
        let shared = self.shared.clone();
        let pods = observe::pods(&shared.caches, &snapshot.desired);
        let mut done = 0;
        for action in &plan.actions {
            let name = act::name(action);
            let mut actor = Actor {
                client: &shared.client,
                desired: &snapshot.desired,
                pods: &pods,
                memory: &mut self.memory,
            };
            let result = actor.carry_out(action).await;
            let word = if result.is_ok() { "ok" } else { "error" };
            telemetry::add(Metric::Actions, &[("action", name), ("result", word)], 1.0);
            match result {
                Ok(()) => debug!(action = name, "done"),
                Err(error) if error.is_conflict() => {
                    debug!(action = name, %error, "the world has moved on");
                    return Err(());
                }
                Err(error) => {
                    warn!(action = name, %error, "an action failed; the rest of the plan is left out");
                    let note = Note { warning: true, reason: "ActionFailed", message: error.to_string() };
                    self.tell(object, &note).await;
                    return Err(());
                }
            }
            // Asking for promises again and again is part of waiting.
            done += usize::from(!matches!(action, decide::Action::AskPromises { .. }));
        }
        for note in &plan.notes {
            self.tell(object, note).await;
        }
        Ok(done)
    }

    /// Writes the status, if there is news in it.
    async fn report(
        &mut self,
        snapshot: &Snapshot,
        plan: &Plan,
        object: &DynamicObject,
        before: Option<&RedisReplicaSetStatus>,
    ) {
        let next = status::status(snapshot, &plan.findings, object.metadata.generation, before);
        let labels = [("namespace", self.key.0.as_str()), ("name", self.key.1.as_str())];
        for (metric, kind) in [(Metric::Ready, "Ready"), (Metric::DataAtRisk, "DataAtRisk")] {
            let holds = next.conditions.iter().any(|one| one.type_ == kind && one.status == "True");
            telemetry::set(metric, &labels, f64::from(holds));
        }
        telemetry::add(Metric::Failovers, &labels, f64::from(masters_changed(before, &next)));
        for shard in &next.shards {
            let index = shard.index.to_string();
            telemetry::set(Metric::Epoch, &[labels[0], labels[1], ("shard", &index)], shard.epoch as f64);
        }
        for (reason, message) in plan.findings.at_risk.iter().chain(&plan.findings.degraded) {
            self.tell(object, &Note { warning: true, reason, message: message.clone() }).await;
        }
        let old = now_ms().saturating_sub(self.memory.status_written_ms) >= OFFSETS.as_millis() as u64;
        let news = before.is_none_or(|before| status::differs(before, &next) || (old && *before != next));
        if news {
            self.write_status(&next).await;
        }
    }

    async fn write_status(&mut self, next: &RedisReplicaSetStatus) {
        let (namespace, name) = &self.key;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.shared.client.clone(), namespace, &resource_kind());
        let patch = Patch::Merge(json!({"status": next}));
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => self.memory.status_written_ms = now_ms(),
            Err(error) => warn!(%error, "the status could not be written"),
        }
    }

    async fn refuse(
        &mut self,
        object: &DynamicObject,
        reason: &'static str,
        why: &str,
        before: Option<&RedisReplicaSetStatus>,
    ) -> Result<Option<Duration>, ()> {
        self.tell(object, &Note { warning: true, reason, message: why.to_owned() }).await;
        let next = status::refused(reason, why, object.metadata.generation, before, now_ms());
        if before != Some(&next) {
            self.write_status(&next).await;
        }
        Ok(Some(BACKOFF.1))
    }

    /// Makes an Event of a note, and a line in the log.
    async fn tell(&mut self, object: &DynamicObject, note: &Note) {
        self.told.retain(|_, when| when.elapsed() < REPEAT);
        let event = (note.reason, note.message.clone());
        if self.told.contains_key(&event) {
            return;
        }
        self.told.insert(event, Instant::now());
        match note.warning {
            true => warn!(reason = note.reason, "{}", note.message),
            false => info!(reason = note.reason, "{}", note.message),
        }
        if let Err(error) = events::publish(&self.shared.client, &self.shared.instance, object, note).await {
            warn!(%error, "an event could not be told");
        }
    }

    /// Listens to every sentinel that answers, to hear of a failover at once.
    fn listen(&mut self, snapshot: &Snapshot) {
        self.listeners.retain(|_, listener| !listener.is_finished());
        let Some((password, _)) = &self.memory.password else { return };
        let pods = observe::pods(&self.shared.caches, &snapshot.desired);
        let answering = snapshot.sentinels.iter().filter(|(_, probe)| probe.answer.is_ok());
        for at in answering.filter_map(|(place, _)| observe::address(&pods, place)) {
            if self.listeners.contains_key(&at) {
                continue;
            }
            let (password, wake) = (password.clone(), self.wake.clone());
            let listener = tokio::spawn(async move {
                let _ = resp::subscribe(at, &password, "+switch-master", || wake.notify_one()).await;
            });
            self.listeners.insert(at, listener.abort_handle());
        }
    }

    fn backoff(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        (BACKOFF.0 * 2u32.saturating_pow(self.failures.min(8) - 1)).min(BACKOFF.1)
    }
}

/// Shards whose master changed since the status before; the first master of all is no change.
fn masters_changed(before: Option<&RedisReplicaSetStatus>, next: &RedisReplicaSetStatus) -> u32 {
    let old = |index| before.and_then(|b| b.shards.iter().find(|s| s.index == index));
    let changed = |s: &&ShardStatus| old(s.index).is_some_and(|o| o.epoch > 0 && o.epoch < s.epoch);
    next.shards.iter().filter(changed).count() as u32
}
