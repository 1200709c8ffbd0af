//! PodDisruptionBudgets: a drain takes one data pod at a time, and never the sentinels' majority.

use serde_json::json;

use super::{DATANODE, Kind, Object, SENTINEL, labels, object, selector};
use crate::crd::desired::Desired;

pub(super) fn all(desired: &Desired) -> Vec<Object> {
    let budget = |name: String, component: &str| {
        object(
            desired,
            Kind::PodDisruptionBudget,
            name,
            &labels(desired, component),
            json!({"spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": selector(desired, component)},
                // A pod that does not work anyway must not hold up a drain.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            }}),
        )
    };
    let mut budgets = vec![budget(desired.name.clone(), DATANODE)];
    if desired.sentinels > 0 {
        budgets.push(budget(desired.sentinel_name(), SENTINEL));
    }
    budgets
}
