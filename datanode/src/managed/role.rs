//! What a shard map makes of a node. Pure decisions; their rules are numbered in `docs/architecture.md`.

use super::Lineage;
use crate::mutation::{self, Mutation};
use crate::shardmap::{NodeAddr, Shard};

/// A node's role and the epoch it holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// It waits for a map.
    Nobody,
    /// It takes writes.
    Master {
        /// Its epoch.
        epoch: u64,
    },
    /// It follows a master.
    Replica {
        /// Which one.
        master: NodeAddr,
        /// That master's epoch.
        epoch: u64,
    },
}

/// What a node knows of itself.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Its address.
    pub node: &'a NodeAddr,
    /// The largest epoch it has promised.
    pub promised: u64,
    /// The largest epoch it has promised since its process started: what was promised before was of other data.
    pub promised_now: u64,
    /// The dataset it holds.
    pub dataset: Option<&'a str>,
    /// It has keys.
    pub has_data: bool,
    /// Its files could not be loaded.
    pub broken: bool,
}

/// The part that a map's shard gives to a node.
pub fn assign(shard: &Shard, me: &Situation<'_>) -> Part {
    let Some(master) = &shard.master else { return Part::Nobody };
    // Files that cannot be loaded are a person's business: nothing is put in their place.
    if me.broken {
        return Part::Nobody;
    }
    // An election for a newer epoch is under way, or was broken off: its outcome has to be waited for.
    if shard.epoch < me.promised {
        return Part::Nobody;
    }
    if master != me.node {
        return Part::Replica { master: master.clone(), epoch: shard.epoch };
    }
    let goes_on = me.dataset.is_some() && me.dataset == shard.dataset.as_deref();
    let founds =
        me.dataset.is_none() && !me.has_data && shard.dataset.is_some() && shard.founded_at == shard.epoch;
    // It was elected for what it held when it promised. A process that was started since may hold less.
    let elected = me.promised_now == shard.epoch || mutation::active(Mutation::MasterGoesOn);
    if elected && (goes_on || founds || mutation::active(Mutation::EmptyVolumeElected)) {
        Part::Master { epoch: shard.epoch }
    } else {
        Part::Nobody
    }
}

/// The lineage guard: whether a node may take over the data of a master of this dataset and epoch.
pub fn may_copy(own: &Lineage, has_data: bool, dataset: &str, epoch: u64) -> Result<(), String> {
    if mutation::active(Mutation::ResyncUnguarded) {
        return Ok(());
    }
    match &own.dataset {
        Some(d) if d != dataset => Err(format!(
            "this node holds dataset {d}, its master dataset {dataset}: nothing is overwritten; empty the volume if its \
             data is not needed"
        )),
        Some(_) if epoch < own.epoch => {
            Err(format!("this node holds data of epoch {}, its master is of epoch {epoch}", own.epoch))
        }
        None if has_data => {
            Err("this node holds data that belongs to no dataset of a shard map: nothing is \
                                 overwritten; empty the volume if that data is not needed"
                .into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATASET: &str = "1111111111111111111111111111111111111111";
    const OTHER: &str = "2222222222222222222222222222222222222222";

    fn addr(name: &str) -> NodeAddr {
        NodeAddr::new(name, 6379).unwrap()
    }

    fn shard(epoch: u64, master: &str, founded_at: u64) -> Shard {
        let json = format!(
            r#"{{"index":0,"slots":[[0,16383]],"members":["a:6379","b:6379"],"epoch":{epoch},"master":"{master}:6379",
                "dataset":"{DATASET}","foundedAt":{founded_at},"acceptLoss":0}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn me(node: &NodeAddr) -> Situation<'_> {
        Situation {
            node,
            promised: 0,
            promised_now: 4,
            dataset: Some(DATASET),
            has_data: true,
            broken: false,
        }
    }

    #[test]
    fn a_map_makes_masters_and_replicas() {
        let a = addr("a");
        assert_eq!(assign(&shard(4, "a", 1), &me(&a)), Part::Master { epoch: 4 });
        assert_eq!(assign(&shard(4, "b", 1), &me(&a)), Part::Replica { master: addr("b"), epoch: 4 });
    }

    #[test]
    fn a_process_that_has_not_promised_the_epoch_itself_is_not_its_master() {
        let a = addr("a");
        // It was started since it promised, or since it was master.
        for promised_now in [0, 3] {
            let restarted = Situation { promised_now, ..me(&a) };
            assert_eq!(assign(&shard(4, "a", 1), &restarted), Part::Nobody);
        }
        let again = Situation { promised: 5, promised_now: 5, ..me(&a) };
        assert_eq!(assign(&shard(5, "a", 1), &again), Part::Master { epoch: 5 });
    }

    #[test]
    fn an_emptied_volume_never_becomes_master() {
        let a = addr("a");
        let emptied = Situation { dataset: None, has_data: false, promised_now: 0, ..me(&a) };
        assert_eq!(assign(&shard(4, "a", 1), &emptied), Part::Nobody);
        // Nor does it where a dataset was founded before, whatever it promises.
        let promised = Situation { promised: 4, promised_now: 4, ..emptied };
        assert_eq!(assign(&shard(4, "a", 1), &promised), Part::Nobody);
        // Emptied right after founding: the promise went with the process.
        assert_eq!(assign(&shard(1, "a", 1), &emptied), Part::Nobody);
        let founder = Situation { promised: 1, promised_now: 1, ..emptied };
        assert_eq!(assign(&shard(1, "a", 1), &founder), Part::Master { epoch: 1 });
        // Data of nobody's is not taken for a new dataset.
        let foreign = Situation { has_data: true, ..founder };
        assert_eq!(assign(&shard(1, "a", 1), &foreign), Part::Nobody);
    }

    #[test]
    fn a_promise_rules_out_older_masters() {
        let a = addr("a");
        let promised = Situation { promised: 5, ..me(&a) };
        assert_eq!(assign(&shard(4, "a", 1), &promised), Part::Nobody);
        assert_eq!(assign(&shard(4, "b", 1), &promised), Part::Nobody);
        assert_eq!(assign(&shard(5, "b", 1), &promised), Part::Replica { master: addr("b"), epoch: 5 });
    }

    #[test]
    fn nothing_is_overwritten_by_another_lineage_or_an_older_epoch() {
        let own = Lineage { dataset: Some(DATASET.into()), epoch: 4 };
        assert!(may_copy(&own, true, DATASET, 4).is_ok());
        assert!(may_copy(&own, true, DATASET, 3).is_err());
        assert!(may_copy(&own, true, OTHER, 9).is_err());
        assert!(may_copy(&Lineage::default(), false, OTHER, 1).is_ok());
        assert!(may_copy(&Lineage::default(), true, OTHER, 1).is_err());
    }
}
