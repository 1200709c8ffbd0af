//! Leader election among replicas of the operator: one Lease, and a pure rule of who may take it.
//!
//! A lease that has not been renewed for its duration, as seen by the clock of whoever wants it (from when that one
//! first saw this renewal), may be taken over. A leader that could not renew in time ends itself.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// Name of the Lease.
const NAME: &str = "redis-replicaset-operator";
/// Time for which a renewal holds.
const DURATION: Duration = Duration::from_secs(8);
/// Time after its last renewal at which a leader that could not renew gives up; shorter than the duration.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Time between renewals, and between looks at somebody else's lease.
const RETRY: Duration = Duration::from_secs(1);

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
pub enum Move {
    /// It is ours: renew it.
    Renew,
    /// Nobody holds it, or no longer: take it.
    Take,
    /// Somebody holds it.
    Wait,
}

/// Decides: `holder` is who holds it, `unchanged` for how long its renewal time has been seen unchanged.
pub fn decide(me: &str, holder: Option<&str>, unchanged: Duration, duration: Duration) -> Move {
    match holder {
        None | Some("") => Move::Take,
        Some(holder) if holder == me => Move::Renew,
        Some(_) if unchanged > duration => Move::Take,
        Some(_) => Move::Wait,
    }
}

/// Waits until this process, named `me`, is the leader.
pub async fn acquire(client: &Client, namespace: &str, me: &str) {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let mut seen: Option<(Option<MicroTime>, Instant)> = None;
    loop {
        match attempt(&api, me, &mut seen).await {
            Ok(true) => return info!(leader = me, "leading"),
            Ok(false) => {}
            Err(error) => warn!(%error, "the lease could not be read or written"),
        }
        sleep(RETRY).await;
    }
}

/// Renews the lease; returns when it is lost, or could not be renewed in time.
pub async fn keep(client: &Client, namespace: &str, me: &str) {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let mut renewed = Instant::now();
    let mut seen = None;
    loop {
        sleep(RETRY).await;
        match timeout(RETRY, attempt(&api, me, &mut seen)).await {
            Ok(Ok(true)) => renewed = Instant::now(),
            Ok(Ok(false)) => return warn!("somebody else holds the lease"),
            Ok(Err(error)) => warn!(%error, "the lease could not be renewed"),
            Err(_) => warn!("the API server does not answer"),
        }
        if renewed.elapsed() > GIVE_UP {
            return warn!("the lease could not be renewed in time");
        }
    }
}

/// Gives the lease back, so that another need not wait for it to run out. That it could not be is no harm.
pub async fn release(client: &Client, namespace: &str, me: &str) {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let give_back = async {
        let Ok(Some(mut lease)) = api.get_opt(NAME).await else { return };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(me))
        else {
            return;
        };
        spec.holder_identity = None;
        if let Err(error) = api.replace(NAME, &PostParams::default(), &lease).await {
            warn!(%error, "the lease could not be given back");
        }
    };
    let _ = timeout(RETRY, give_back).await;
}

async fn attempt(
    api: &Api<Lease>,
    me: &str,
    seen: &mut Option<(Option<MicroTime>, Instant)>,
) -> Result<bool, kube::Error> {
    let now = MicroTime(Timestamp::now());
    let Some(mut lease) = api.get_opt(NAME).await? else {
        let spec = LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
        return written(api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await);
    };
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if seen.as_ref().is_none_or(|(renewal, _)| *renewal != spec.renew_time) {
        *seen = Some((spec.renew_time.clone(), Instant::now()));
    }
    let unchanged = seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
    let duration = spec.lease_duration_seconds.map_or(DURATION, |s| Duration::from_secs(s.max(1) as u64));
    match decide(me, spec.holder_identity.as_deref(), unchanged, duration) {
        Move::Wait => return Ok(false),
        Move::Renew => {}
        Move::Take => {
            spec.holder_identity = Some(me.to_owned());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
            spec.lease_duration_seconds = Some(DURATION.as_secs() as i32);
        }
    }
    spec.renew_time = Some(now);
    // The resource version that was read goes with it: of two who take it, one is refused.
    written(api.replace(NAME, &PostParams::default(), &lease).await)
}

fn written<T>(result: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_take_the_lease() {
        let (short, long) = (Duration::from_secs(7), Duration::from_secs(9));
        let table = [
            (None, short, Move::Take),
            (Some(""), short, Move::Take),
            (Some("me"), short, Move::Renew),
            (Some("me"), long, Move::Renew),
            (Some("other"), short, Move::Wait),
            (Some("other"), DURATION, Move::Wait),
            (Some("other"), long, Move::Take),
        ];
        for (holder, unchanged, expected) in table {
            assert_eq!(decide("me", holder, unchanged, DURATION), expected, "{holder:?} {unchanged:?}");
        }
    }

    #[test]
    fn a_leader_gives_up_before_another_may_take_over() {
        assert!(GIVE_UP + RETRY + RETRY < DURATION);
    }
}
