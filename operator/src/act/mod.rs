//! Carries out a plan, action by action, up to the first that fails. Every action names what it is for (uid, resource
//! version, epoch), so that a world that has moved on refuses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use datanode::shardmap::NodeAddr;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;

use crate::crd::desired::{Desired, pod_of};
use crate::decide::{Action, config_note};
use crate::observe::memory::Memory;
use crate::observe::{self, probe, resp};
use crate::render::{self, Kind, MANAGER, Object, ROLE};
use crate::snapshot::{Failure, Record};

/// Time that a member has to answer beyond the time it was given for a handover.
pub const HANDOVER_SLACK: Duration = Duration::from_secs(2);

/// Why an action was not carried out.
#[derive(Debug, Error)]
pub enum ActError {
    /// The API server refused it or did not answer.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// What came back.
        source: kube::Error,
    },
    /// A member refused it or did not answer.
    #[error("{what}: {member} {failure}")]
    Member {
        /// What was tried.
        what: &'static str,
        /// Pod of the member.
        member: String,
        /// What came back.
        failure: Failure,
    },
    /// An object of that name belongs to somebody else.
    #[error("the {kind} {name} belongs to somebody else; it is not touched")]
    Foreign {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The kernel gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] std::io::Error),
}

impl ActError {
    /// Whether the world has just moved on: not worth a word.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if matches!(status.code, 404 | 409))
    }
}

/// Hands that carry out actions on one resource.
pub struct Actor<'a> {
    /// To the API server.
    pub client: &'a Client,
    /// The resource.
    pub desired: &'a Desired,
    /// Its pods, by name.
    pub pods: &'a BTreeMap<String, Pod>,
    /// What is remembered of it.
    pub memory: &'a mut Memory,
}

impl Actor<'_> {
    /// Carries out one action.
    ///
    /// # Errors
    /// [`ActError`] where it was not, or it is not known that it was.
    pub async fn carry_out(&mut self, action: &Action) -> Result<(), ActError> {
        if action.is_disruptive() {
            self.memory.last_disruption_ms = observe::now_ms();
        }
        match action {
            Action::CreateSecret => self.create_secret().await,
            Action::Apply(object) => self.apply(object).await,
            Action::SaveRecord(record) => self.save(record).await,
            Action::Offer { to, map } => {
                let (at, password) = self.reach("OFFER", to)?;
                probe::offer(at, &password, map)
                    .await
                    .map(|_| ())
                    .map_err(|failure| member("OFFER", to, failure))
            }
            Action::Label { pod, uid, role } => {
                self.patch_pod(pod, uid, json!({"labels": {ROLE: role}}), "label").await
            }
            Action::Configure { member, pod, directives, hash, run_id } => {
                self.configure(member, pod, directives, hash, run_id).await
            }
            Action::AskPromises { shard, epoch, members } => {
                let asked = members.iter().filter_map(|member| self.reach("PROMISE", member).ok());
                let answers = join_all(asked.map(|(at, password)| async move {
                    probe::promise(at, &password, *shard, *epoch).await
                }))
                .await;
                // Who does not answer, or has promised more, is seen at the next look.
                answers.into_iter().flatten().for_each(|status| self.memory.promised(*shard, status));
                Ok(())
            }
            Action::Handover { shard, master, to, epoch, timeout_ms } => {
                let (at, password) = self.reach("HANDOVER", master)?;
                let limit = Duration::from_millis(*timeout_ms) + HANDOVER_SLACK;
                let (shard, ms) = (shard.to_string(), timeout_ms.to_string());
                let order = ["REPLICASET", "HANDOVER", &shard, to.as_str(), &epoch.to_string(), &ms];
                probe::order(at, &password, &order, limit).await.map_err(|failure| {
                    let why = format!("{} {failure}", pod_of(master.as_str()));
                    self.memory.handover_failed(*epoch, why, observe::now_ms());
                    member("HANDOVER", master, failure)
                })
            }
            Action::Switchover { sentinel, shard, to } => {
                let (at, password) = self.reach("SWITCHOVER", sentinel)?;
                let order = ["REPLICASET", "SWITCHOVER", &shard.to_string(), "TO", to.as_str()];
                probe::order(at, &password, &order, resp::PROBE)
                    .await
                    .map_err(|failure| member("SWITCHOVER", sentinel, failure))
            }
            Action::DeletePod { pod, uid } => {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.desired.namespace);
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let parameters =
                    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                api.delete(pod, &parameters).await.map(|_| ()).map_err(api_error(format!("delete pod {pod}")))
            }
            Action::GrowClaim { claim, size } => {
                let api: Api<PersistentVolumeClaim> =
                    Api::namespaced(self.client.clone(), &self.desired.namespace);
                let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
                api.patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ()).map_err(
                    |error| {
                        if let kube::Error::Api(status) = &error {
                            self.memory.failures.claims.insert(claim.clone(), status.message.clone());
                        }
                        api_error(format!("grow claim {claim}"))(error)
                    },
                )
            }
        }
    }

    async fn create_secret(&mut self) -> Result<(), ActError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.desired.namespace);
        let secret = parsed(render::secret(self.desired, &observe::random_hex(24)?));
        match api.create(&PostParams::default(), &secret).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            done => done.map(|_| ()).map_err(api_error(format!("make Secret {}", self.desired.secret))),
        }
    }

    async fn apply(&mut self, object: &Object) -> Result<(), ActError> {
        let (group, version) =
            object.kind.api_version().rsplit_once('/').unwrap_or(("", object.kind.api_version()));
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, object.kind.name()));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.desired.namespace, &kind);
        // Not only what the caches know: an object of that name without our labels is somebody else's.
        let read = api.get_opt(&object.name).await;
        let existing = read.map_err(api_error(format!("read {} {}", object.kind.name(), object.name)))?;
        if existing.is_some_and(|found| {
            !found.owner_references().iter().any(|owner| owner.uid == self.desired.owner.uid)
        }) {
            return Err(ActError::Foreign { kind: object.kind.name(), name: object.name.clone() });
        }
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&object.name, &parameters, &Patch::Apply(&object.body))
            .await
            .map_err(api_error(format!("apply {} {}", object.kind.name(), object.name)))?;
        self.memory.applied.insert((object.kind, object.name.clone()), observe::now_ms());
        Ok(())
    }

    async fn save(&mut self, record: &Record) -> Result<(), ActError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.desired.namespace);
        let text = serde_json::to_string(record).expect("a record has only text keys");
        let mut body = render::record(self.desired, &BTreeMap::from([(observe::RECORD.to_owned(), text)]));
        let name = self.desired.map_name();
        let failed = api_error(format!("write ConfigMap {name}"));
        match &record.resource_version {
            None => api.create(&PostParams::default(), &parsed(body)).await.map(|_| ()).map_err(failed),
            Some(version) => {
                body["metadata"]["resourceVersion"] = json!(version);
                api.replace(&name, &PostParams::default(), &parsed(body)).await.map(|_| ()).map_err(failed)
            }
        }
    }

    async fn configure(
        &mut self,
        to: &NodeAddr,
        (pod, uid): &(String, String),
        directives: &BTreeMap<String, String>,
        hash: &str,
        run_id: &str,
    ) -> Result<(), ActError> {
        let (at, password) = self.reach("CONFIG SET", to)?;
        let mut order = vec!["CONFIG", "SET"];
        order.extend(directives.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        if let Err(failure) = probe::order(at, &password, &order, resp::PROBE).await {
            if let Failure::Error(text) = &failure {
                self.memory.failures.config =
                    Some((hash.to_owned(), format!("{pod} refuses the configuration: {text}")));
            }
            return Err(member("CONFIG SET", to, failure));
        }
        let notes = json!({"annotations": {observe::CONFIG: config_note(hash, run_id)}});
        self.patch_pod(pod, uid, notes, "annotate").await
    }

    async fn patch_pod(&self, pod: &str, uid: &str, mut metadata: Value, what: &str) -> Result<(), ActError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.desired.namespace);
        // The API server refuses a patch with another uid than the pod's.
        metadata["uid"] = json!(uid);
        api.patch(pod, &PatchParams::default(), &Patch::Merge(json!({"metadata": metadata})))
            .await
            .map(|_| ())
            .map_err(api_error(format!("{what} pod {pod}")))
    }

    fn reach(&self, what: &'static str, place: &NodeAddr) -> Result<(SocketAddr, String), ActError> {
        match (observe::address(self.pods, place), &self.memory.password) {
            (Some(at), Some((password, _))) => Ok((at, password.clone())),
            _ => Err(member(what, place, Failure::Absent)),
        }
    }
}

fn member(what: &'static str, place: &NodeAddr, failure: Failure) -> ActError {
    ActError::Member { what, member: pod_of(place.as_str()).to_owned(), failure }
}

fn api_error(what: String) -> impl FnOnce(kube::Error) -> ActError {
    move |source| ActError::Api { what, source }
}

fn parsed<T: serde::de::DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).expect("what is rendered is of its kind")
}

/// Name of an action for logs and metrics.
pub fn name(action: &Action) -> &'static str {
    match action {
        Action::CreateSecret => "create-secret",
        Action::Apply(object) => match object.kind {
            Kind::ConfigMap => "apply-configmap",
            Kind::Service => "apply-service",
            Kind::PodDisruptionBudget => "apply-poddisruptionbudget",
            Kind::StatefulSet => "apply-statefulset",
        },
        Action::SaveRecord(_) => "save-record",
        Action::Offer { .. } => "offer",
        Action::Label { .. } => "label",
        Action::Configure { .. } => "configure",
        Action::AskPromises { .. } => "ask-promises",
        Action::Handover { .. } => "handover",
        Action::Switchover { .. } => "switchover",
        Action::DeletePod { .. } => "delete-pod",
        Action::GrowClaim { .. } => "grow-claim",
    }
}
