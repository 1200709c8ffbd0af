//! What must outlive the process: epoch, votes, and in classic mode what is known of the masters (in `sentinel.conf`),
//! under the shard map the map (in `DIR/sentinel.json`). Always replaced in the crash-safe way of [`crate::disk`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Sentinel;
use super::config::{MasterOptions, rewrite};
use crate::disk;
use crate::shardmap::{Authority, ShardMap};

/// Name of the state file under `dir` in managed mode.
const FILE: &str = "sentinel.json";
/// Between two times of saving what others have told there is at least this pause, milliseconds.
const SAVE_PAUSE_MS: u64 = 1000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    pub myid: String,
    pub current_epoch: u64,
    /// False until it has learned from others what it must not vote for again.
    pub may_vote: bool,
    pub votes: BTreeMap<String, Vote>,
    pub map: Option<ShardMap>,
    #[serde(default)]
    pub accepted: BTreeMap<u32, Authority>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Vote {
    pub leader: Option<String>,
    pub epoch: u64,
    /// See [`super::lease::Feed::withheld_below`].
    #[serde(default)]
    pub withheld_below: u64,
}

impl Sentinel {
    pub(super) fn state_file(&self) -> PathBuf {
        self.cfg.dir.join(FILE)
    }

    /// Where the state is kept, to be shown.
    pub(super) fn state_path(&self) -> String {
        match (&self.cfg.file, self.cfg.managed) {
            (Some(f), false) => f.display().to_string(),
            _ => self.state_file().display().to_string(),
        }
    }

    /// Makes the state durable.
    pub(super) fn save(&mut self) -> std::io::Result<()> {
        self.unsaved = false;
        let (path, bytes) = match (&self.managed, &self.cfg.file) {
            (Some(managed), _) => {
                let state = State {
                    myid: self.myid.clone(),
                    current_epoch: self.current_epoch,
                    may_vote: managed.may_vote,
                    votes: self
                        .masters
                        .iter()
                        .map(|(n, m)| {
                            let vote = Vote {
                                leader: m.leader.clone(),
                                epoch: m.opt.leader_epoch,
                                withheld_below: m.feed.withheld_below,
                            };
                            (n.clone(), vote)
                        })
                        .collect(),
                    map: managed.map.clone(),
                    accepted: managed.accepted.clone(),
                };
                (self.state_file(), serde_json::to_vec_pretty(&state).map_err(std::io::Error::other)?)
            }
            (None, Some(_)) => {
                let mut lines = self.cfg.global_state(&self.myid, self.current_epoch);
                lines.extend(self.masters.keys().flat_map(|name| self.options(name).state()));
                return rewrite(&self.front.config, &*self.disk, &lines, self.front.user_lines())
                    .map_err(std::io::Error::other);
            }
            // It does not start like this.
            (None, None) => return Ok(()),
        };
        disk::replace(&*self.disk, &path, &bytes)
    }

    /// Makes the state durable where nothing depends on it yet; a failure is reported and tried again with the next change.
    pub(super) fn save_or_warn(&mut self) {
        if let Err(e) = self.save() {
            tracing::error!("Sentinel was not able to save its state to {}: {e}", self.state_path());
        }
    }

    /// Has the state made durable soon, where it is about what others tell and would tell again: whoever tells much does not
    /// keep this sentinel writing.
    pub(super) fn save_soon(&mut self) {
        self.unsaved = true;
    }

    /// What is to be saved soon is saved now, if the last time is long enough ago.
    pub(super) fn save_if_due(&mut self, now_ms: u64) {
        if self.unsaved && now_ms.saturating_sub(self.saved_ms) >= SAVE_PAUSE_MS {
            self.saved_ms = now_ms;
            self.save_if_unsaved();
        }
    }

    /// The same without a pause: the process ends.
    pub(super) fn save_if_unsaved(&mut self) {
        if self.unsaved {
            self.save_or_warn();
        }
    }

    /// A master's options with what is known of its instances.
    fn options(&self, name: &str) -> MasterOptions {
        let m = &self.masters[name];
        let mut opt = m.opt.clone();
        let current = self.current_master(name);
        if let Some(i) = current.and_then(|id| self.insts.get(&id)) {
            opt.addr = i.addr.clone();
        }
        let members = m.inst.iter().chain(&m.replicas).filter(|id| Some(**id) != current);
        opt.known_replicas = members.filter_map(|id| Some(self.insts.get(id)?.addr.clone())).collect();
        opt.known_sentinels = m
            .peers
            .keys()
            .filter_map(|id| self.insts.get(id))
            .filter(|i| !i.run_id.is_empty())
            .map(|i| (i.addr.clone(), i.run_id.clone()))
            .collect();
        opt
    }
}
