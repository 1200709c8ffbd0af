//! The operator: its own decisions, memory and patience, on probes that travel through the simulated network. The API
//! server keeps one ConfigMap, refuses a write that was not made from the newest version, and may answer with an older
//! one.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use datanode::io::{Action as Ask, ConnId, ConnectError, Gone, Io, JobId, LinkToken, Peer, Service, Signal};
use datanode::resp::encode_command;
use datanode::resp::reader::{self, Value};
use datanode::rng::Rng;
use datanode::shardmap::{NodeAddr, ShardMap};
use operator::act::HANDOVER_SLACK;
use operator::controller::AFTER_ACTION;
use operator::crd::desired::{Desired, SENTINEL_PORT};
use operator::decide::{self, Action, Plan};
use operator::observe::memory::Memory;
use operator::observe::resp::PROBE;
use operator::observe::{patience, remember};
use operator::render::{Kind, Settings};
use operator::snapshot::{Answer, Failure, Failures, Record, Secret, SetView, Snapshot};
use serde::de::DeserializeOwned;

/// Pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Longest reply, bytes.
const MAX_REPLY: usize = 1 << 20;

/// The API server, as far as the shard map is concerned.
#[derive(Debug, Default)]
pub struct ApiServer {
    /// Every version there has been.
    versions: Vec<String>,
    /// Nobody reaches it.
    pub down: bool,
    /// Readers see the version before the newest.
    pub stale: bool,
    /// Pods that each StatefulSet is to have, by its name.
    pub sets: BTreeMap<String, u32>,
}

impl ApiServer {
    fn read(&self) -> Option<Record> {
        let newest = self.versions.len();
        let version = if self.stale && newest > 1 { newest - 1 } else { newest };
        let text = self.versions.get(version.checked_sub(1)?)?;
        let mut record: Record = serde_json::from_str(text).expect("what was written is a record");
        record.resource_version = Some(version.to_string());
        Some(record)
    }

    /// False: it is down, or somebody else was faster.
    fn write(&mut self, record: &Record) -> bool {
        let newest = (!self.versions.is_empty()).then(|| self.versions.len().to_string());
        let accepted = !self.down && record.resource_version == newest;
        if accepted {
            self.versions.push(serde_json::to_string(record).expect("a record has only text keys"));
        }
        accepted
    }

    /// The newest map.
    pub fn map(&self) -> Option<ShardMap> {
        let record: Record =
            serde_json::from_str(self.versions.last()?).expect("what was written is a record");
        Some(record.map)
    }
}

/// A question to a member or sentinel that has not been answered yet.
struct Call {
    to: NodeAddr,
    conn: Option<ConnId>,
    request: Vec<u8>,
    replies: usize,
    got: Vec<Value>,
    until_ms: u64,
}

type Outcome = Result<Vec<Value>, Failure>;

enum Phase {
    Resting { until_ms: u64 },
    Looking,
    Acting { rest: VecDeque<Action>, current: Option<Action>, done: usize, requeue: Duration },
}

/// The operator's process.
pub struct Operator {
    desired: Rc<RefCell<Desired>>,
    api: Rc<RefCell<ApiServer>>,
    memory: Memory,
    rng: Rng,
    phase: Phase,
    calls: BTreeMap<u64, Call>,
    outcomes: Vec<(NodeAddr, Outcome, u64)>,
    next_call: u64,
}

impl Operator {
    /// One that has just been started.
    pub fn new(desired: Rc<RefCell<Desired>>, api: Rc<RefCell<ApiServer>>, seed: u64) -> Operator {
        Operator {
            desired,
            api,
            memory: Memory::default(),
            rng: Rng::new(seed),
            phase: Phase::Resting { until_ms: 0 },
            calls: BTreeMap::new(),
            outcomes: Vec::new(),
            next_call: 0,
        }
    }

    fn ask(&mut self, io: &mut Io, to: &NodeAddr, commands: &[Vec<String>], limit: Duration) {
        let mut request = Vec::new();
        commands.iter().for_each(|words| encode_command(&mut request, words));
        self.next_call += 1;
        let call = Call {
            to: to.clone(),
            conn: None,
            request,
            replies: commands.len(),
            got: Vec::new(),
            until_ms: io.now.mono_ms() + limit.as_millis() as u64,
        };
        self.calls.insert(self.next_call, call);
        io.ask(Ask::Connect {
            token: LinkToken(self.next_call),
            host: to.host().to_owned(),
            port: to.port(),
            timeout_ms: limit.as_millis() as u64,
        });
    }

    fn end_call(&mut self, io: &mut Io, id: u64, outcome: Outcome) {
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(conn) = call.conn {
            io.close(conn, false);
        }
        self.outcomes.push((call.to, outcome, io.now.unix_ms as u64));
        if self.calls.is_empty() {
            self.go_on(io);
        }
    }

    fn look(&mut self, io: &mut Io) {
        let now = io.now.unix_ms as u64;
        let d = self.desired.borrow().clone();
        let (members, sentinels) = operator::observe::places(&d, self.api.borrow().read().as_ref());
        let words = |sub: &str| vec!["REPLICASET".to_owned(), sub.to_owned()];
        self.phase = Phase::Looking;
        for place in members.into_iter().chain(sentinels) {
            let limit = patience(self.memory.heard.get(&place).copied(), now);
            self.ask(io, &place, &[words("STATUS"), words("MAP")], limit);
        }
    }

    /// All calls of the present phase have come to an end.
    fn go_on(&mut self, io: &mut Io) {
        let outcomes = std::mem::take(&mut self.outcomes);
        match std::mem::replace(&mut self.phase, Phase::Resting { until_ms: 0 }) {
            Phase::Resting { until_ms } => self.phase = Phase::Resting { until_ms },
            Phase::Looking => {
                let plan = self.decide(io, outcomes);
                self.phase = Phase::Acting {
                    rest: plan.actions.into(),
                    current: None,
                    done: 0,
                    requeue: Duration::from_millis(plan.requeue_ms),
                };
                self.act(io);
            }
            Phase::Acting { rest, current, done, requeue } => {
                let ok = self.conclude(io, current, outcomes);
                self.phase = Phase::Acting { rest, current: None, done, requeue };
                if ok { self.act(io) } else { self.rest(io, AFTER_FAILURE) }
            }
        }
    }

    fn rest(&mut self, io: &Io, pause: Duration) {
        self.phase = Phase::Resting { until_ms: io.now.mono_ms() + pause.as_millis() as u64 };
    }

    fn decide(&mut self, io: &Io, outcomes: Vec<(NodeAddr, Outcome, u64)>) -> Plan {
        let record = self.api.borrow().read();
        let (mut members, mut sentinels) = (BTreeMap::new(), BTreeMap::new());
        for (at, outcome, when) in outcomes {
            if at.port() == SENTINEL_PORT {
                sentinels.extend([remember(&mut self.memory, (at, outcome.and_then(answer), when))]);
            } else {
                members.extend([remember(&mut self.memory, (at, outcome.and_then(answer), when))]);
            }
        }
        if let Some(record) = &record {
            self.memory.forget_old_promises(record);
        }
        decide::decide(&Snapshot {
            now_ms: io.now.unix_ms as u64,
            desired: self.desired.borrow().clone(),
            settings: Settings { image: "datanode".into(), pull_policy: "Never".into() },
            secret: Secret::Usable,
            objects: BTreeMap::new(),
            sets: self.sets(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            config: Some(self.desired.borrow().directives.clone()),
            record,
            members,
            sentinels,
            promises: self.memory.promises.clone(),
            failures: Failures { handover: self.memory.failures.handover.clone(), ..Failures::default() },
            last_disruption_ms: self.memory.last_disruption_ms,
            fresh_dataset: self.rng.hex40(),
        })
    }

    fn sets(&self) -> BTreeMap<String, SetView> {
        let view = |(name, &pods): (&String, &u32)| (name.clone(), SetView { pods, claim: None });
        self.api.borrow().sets.iter().map(view).collect()
    }

    /// Carries out the next actions, up to the first that has to be waited for.
    fn act(&mut self, io: &mut Io) {
        loop {
            let Phase::Acting { rest, done, requeue, .. } = &mut self.phase else { return };
            let Some(action) = rest.pop_front() else {
                let pause = if *done > 0 { AFTER_ACTION } else { *requeue };
                return self.rest(io, pause);
            };
            let calls: Vec<(NodeAddr, Vec<String>, Duration)> = match &action {
                Action::SaveRecord(record) => {
                    *done += 1;
                    if !self.api.borrow_mut().write(record) {
                        return self.rest(io, AFTER_FAILURE);
                    }
                    continue;
                }
                Action::Offer { to, map } => {
                    *done += 1;
                    vec![(to.clone(), vec!["REPLICASET".into(), "OFFER".into(), map.to_json()], PROBE)]
                }
                Action::AskPromises { shard, epoch, members } => {
                    let words =
                        ["REPLICASET".to_owned(), "PROMISE".to_owned(), shard.to_string(), epoch.to_string()];
                    members.iter().map(|m| (m.clone(), words.to_vec(), PROBE)).collect()
                }
                Action::Handover { shard, master, to, epoch, timeout_ms } => {
                    *done += 1;
                    let words = vec![
                        "REPLICASET".to_owned(),
                        "HANDOVER".to_owned(),
                        shard.to_string(),
                        to.to_string(),
                        epoch.to_string(),
                        timeout_ms.to_string(),
                    ];
                    vec![(master.clone(), words, Duration::from_millis(*timeout_ms) + HANDOVER_SLACK)]
                }
                Action::Switchover { sentinel, shard, to } => {
                    *done += 1;
                    let order = ["REPLICASET", "SWITCHOVER", &shard.to_string(), "TO", to.as_str()];
                    vec![(sentinel.clone(), order.map(str::to_owned).to_vec(), PROBE)]
                }
                Action::Apply(object) if object.kind == Kind::StatefulSet => {
                    let mut api = self.api.borrow_mut();
                    let pods = object.body["spec"]["replicas"].as_u64().filter(|_| !api.down);
                    let Some(pods) = pods.and_then(|pods| pods.try_into().ok()) else {
                        drop(api);
                        return self.rest(io, AFTER_FAILURE);
                    };
                    api.sets.insert(object.name.clone(), pods);
                    continue;
                }
                // The cluster's other objects are as they should be.
                _ => continue,
            };
            if calls.is_empty() {
                continue;
            }
            let Phase::Acting { current, .. } = &mut self.phase else { return };
            *current = Some(action);
            for (to, words, limit) in calls {
                self.ask(io, &to, &[words], limit);
            }
            return;
        }
    }

    /// Whether an action was carried out.
    fn conclude(&mut self, io: &Io, action: Option<Action>, outcomes: Vec<(NodeAddr, Outcome, u64)>) -> bool {
        let now = io.now.unix_ms as u64;
        match action {
            Some(Action::AskPromises { shard, .. }) => {
                for (_, outcome, _) in outcomes {
                    if let Ok([Value::Bulk(json)]) = outcome.as_deref()
                        && let Ok(status) = serde_json::from_slice(json)
                    {
                        self.memory.promised(shard, status);
                    }
                }
                true
            }
            Some(Action::Handover { epoch, .. }) => {
                let failed = outcomes.iter().find_map(|(_, outcome, _)| match outcome.as_deref() {
                    Ok([Value::Error(text)]) => Some(text.clone()),
                    Ok(_) => None,
                    Err(failure) => Some(failure.to_string()),
                });
                self.memory.last_disruption_ms = now;
                let done = failed.is_none();
                if let Some(why) = failed {
                    self.memory.handover_failed(epoch, why, now);
                }
                done
            }
            Some(Action::Switchover { .. }) => {
                self.memory.last_disruption_ms = now;
                outcomes.iter().all(|(_, outcome, _)| matches!(outcome.as_deref(), Ok([Value::Simple(_)])))
            }
            _ => outcomes.iter().all(|(_, outcome, _)| matches!(outcome.as_deref(), Ok([Value::Bulk(_)]))),
        }
    }
}

fn answer<T: DeserializeOwned>(values: Vec<Value>) -> Result<Answer<T>, Failure> {
    let wrong = |value: &Value| Failure::Error(format!("{value:?}"));
    let [Value::Bulk(status), map] = &values[..] else {
        return Err(values.first().map_or(Failure::Silent, wrong));
    };
    let status = serde_json::from_slice(status).map_err(|e| Failure::Error(e.to_string()))?;
    let map = match map {
        Value::Null => None,
        Value::Bulk(json) => Some(ShardMap::from_json(json).map_err(|e| Failure::Error(e.to_string()))?),
        other => return Err(wrong(other)),
    };
    Ok(Answer { status, map })
}

impl Service for Operator {
    fn accepted(&mut self, io: &mut Io, conn: ConnId, _peer: Peer) {
        io.close(conn, false);
    }

    fn received(&mut self, io: &mut Io, conn: ConnId) {
        let Some(id) = self.calls.iter().find(|(_, c)| c.conn == Some(conn)).map(|(id, _)| *id) else {
            return;
        };
        while let Some(c) = io.conn(conn) {
            let Ok(Some(value)) = reader::take(&mut c.input, MAX_REPLY) else { return };
            let Some(call) = self.calls.get_mut(&id) else { return };
            call.got.push(value);
            if call.got.len() == call.replies {
                let got = std::mem::take(&mut call.got);
                return self.end_call(io, id, Ok(got));
            }
        }
    }

    fn drained(&mut self, _io: &mut Io, _conn: ConnId) {}

    fn closed(&mut self, io: &mut Io, conn: ConnId, _why: Gone) {
        if let Some(id) = self.calls.iter().find(|(_, c)| c.conn == Some(conn)).map(|(id, _)| *id) {
            self.end_call(io, id, Err(Failure::Silent));
        }
    }

    fn connected(&mut self, io: &mut Io, token: LinkToken, result: Result<(ConnId, Peer), ConnectError>) {
        match (result, self.calls.get_mut(&token.0)) {
            (Ok((conn, _)), Some(call)) => {
                call.conn = Some(conn);
                let request = std::mem::take(&mut call.request);
                io.send(conn, &request);
            }
            (Ok((conn, _)), None) => io.close(conn, false),
            (Err(ConnectError::Refused), _) => self.end_call(io, token.0, Err(Failure::Refused)),
            (Err(_), _) => self.end_call(io, token.0, Err(Failure::Silent)),
        }
    }

    fn job_done(&mut self, _io: &mut Io, _job: JobId, _result: std::io::Result<u64>) {}

    fn tick(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        let late: Vec<u64> =
            self.calls.iter().filter(|(_, c)| now >= c.until_ms).map(|(id, _)| *id).collect();
        for id in late {
            self.end_call(io, id, Err(Failure::Silent));
        }
        if let Phase::Resting { until_ms } = self.phase
            && now >= until_ms
            && !self.api.borrow().down
        {
            self.look(io);
        }
    }

    fn before_sleep(&mut self, _io: &mut Io) {}

    fn tick_ms(&self) -> u64 {
        20
    }

    fn terminate(&mut self, _io: &mut Io, _signal: Signal) {}
}
