//! Planned moves: they happen although messages are late or lost, or they end in time and say why.

use super::*;

/// Asks sentinel `i` for a move.
fn ask(w: &mut World, i: usize, to: Option<NodeAddr>) -> Result<(), String> {
    let asked = w.sim.call(i, |a, io| match a {
        Actor::Sentinel(s) => s.start_planned(io, "orders", to.as_ref()),
        Actor::Member(_) => unreachable!(),
    });
    asked.unwrap()
}

/// State and reason that sentinel `i` shows.
fn shown(w: &mut World, i: usize) -> (ShardState, String) {
    let s = w.s(i).unwrap();
    let view = s.status(s.last_tick_ms).unwrap().shards.remove(0);
    (view.state, view.reason)
}

#[test]
fn planned_moves() {
    let mut w = World::new(3, CALM);
    let (master, _) = w.until_agreed(10_000);
    w.run_ms(2000);
    let target = (master + 2) % MEMBERS;
    let to: NodeAddr = member(target).parse().unwrap();
    let own: NodeAddr = member(master).parse().unwrap();
    assert!(ask(&mut w, 1, Some(own)).unwrap_err().contains("is the master already"));
    assert!(ask(&mut w, 1, Some("x:1".parse().unwrap())).unwrap_err().contains("not a member"));
    ask(&mut w, 1, Some(to.clone())).unwrap();
    assert!(ask(&mut w, 1, Some(to)).unwrap_err().starts_with("INPROG"));
    w.run_ms(1000);
    assert_eq!(w.agreed(), Some(target));
    w.nothing_lost(target);
    assert_eq!(w.masters.len(), 2, "one decision was enough");
}

#[test]
fn a_planned_move_that_cannot_finish_leaves_the_master() {
    let mut w = World::new(4, CALM);
    let (master, _) = w.until_agreed(10_000);
    w.run_ms(1000);
    // It no longer takes writes of its epoch, so it refuses to hand over.
    w.m(master).unwrap().role = NodeRole::Replica;
    ask(&mut w, 0, None).unwrap();
    w.run_ms(1000);
    assert_eq!(w.masters.len(), 1, "no promises were asked for and nothing was decided");
    assert!(!w.s(0).unwrap().masters["orders"].failover.active());
    let (state, reason) = shown(&mut w, 0);
    assert!(state == ShardState::Ok && reason.contains("not the master"), "{state:?} {reason}");
}

#[test]
fn a_planned_move_is_tried_again_until_it_is_done() {
    for seed in 0..10 {
        let mut w = World::new(seed, CALM);
        let (master, _) = w.until_agreed(10_000);
        w.run_ms(1000);
        // The one that is asked hears from no other sentinel: it is not elected in the time of an attempt.
        let others: Vec<usize> = (1..SENTINELS).collect();
        others.iter().for_each(|i| w.sim.cut(0, *i, true));
        ask(&mut w, 0, None).unwrap();
        assert!(ask(&mut w, 0, None).unwrap_err().starts_with("INPROG"));
        w.run_ms(2500);
        assert_eq!(w.masters.len(), 1, "nobody decides alone");
        assert_eq!(shown(&mut w, 0).0, ShardState::Switchover);
        w.sim.mend_all();
        w.run_ms(5000);
        let now = w.agreed().expect("one master");
        assert_ne!(now, master, "seed {seed}: it was asked for once");
        w.nothing_lost(now);
    }
}

#[test]
fn a_planned_move_that_never_finds_votes_ends_in_time() {
    let mut w = World::new(7, CALM);
    let (master, _) = w.until_agreed(10_000);
    w.run_ms(1000);
    (1..SENTINELS).for_each(|i| w.sim.cut(0, i, true));
    ask(&mut w, 0, None).unwrap();
    w.run_ms(map().failover_timeout_ms + 200);
    let (state, reason) = shown(&mut w, 0);
    assert!(
        state == ShardState::Ok && reason.contains("has failed") && reason.contains("not-elected"),
        "{reason}"
    );
    w.sim.mend_all();
    w.run_ms(5000);
    assert_eq!(w.agreed(), Some(master), "it is not taken up again");
    // Asked again, it happens, and what is shown of the last one goes.
    ask(&mut w, 0, None).unwrap();
    w.run_ms(2000);
    assert_ne!(w.agreed().expect("one master"), master);
    assert_eq!(shown(&mut w, 0), (ShardState::Ok, String::new()));
}

#[test]
fn a_move_that_left_the_old_master_is_tried_again() {
    for seed in 0..10 {
        let mut w = World::new(seed, CALM);
        let (master, _) = w.until_agreed(10_000);
        w.run_ms(1000);
        let target = (master + 1) % MEMBERS;
        // Its process gets no processor for a while: the others promise, and without it the old master goes on.
        w.m(target).unwrap().stalled_until_us = w.sim.now_us + 2_500_000;
        ask(&mut w, 1, Some(member(target).parse().unwrap())).unwrap();
        w.run_ms(map().failover_timeout_ms);
        let (state, reason) = shown(&mut w, 1);
        assert_eq!(w.agreed(), Some(target), "seed {seed}: {state:?} {reason}");
        assert!(w.masters.len() > 2, "seed {seed}: it was not stalled long enough");
        w.nothing_lost(target);
    }
}

/// Whatever happens meanwhile: within its time a move has come about, or it is said that it has not.
#[test]
fn an_accepted_move_is_never_forgotten() {
    let (mut moved, mut told) = (0, 0);
    for seed in 0..40 {
        let mut w = World::new(seed, Weather { delay_us: (200, 200_000), loss: seed % 4 * 2 });
        let asked = (seed % 3) as usize;
        let mut master = w.until_agreed(60_000).0;
        while ask(&mut w, asked, None).is_err() {
            w.run_ms(100);
            master = w.until_agreed(60_000).0;
        }
        let i = w.sim.rng.below((MEMBERS + SENTINELS) as u64) as usize;
        if seed % 2 == 0 {
            w.sim.cut(asked, i, true);
        }
        w.run_ms(map().failover_timeout_ms);
        w.sim.mend_all();
        w.sim.weather = CALM;
        let (now, _) = w.until_agreed(20_000);
        w.run_ms(1000);
        let (_, reason) = shown(&mut w, asked);
        assert!(now != master || reason.contains("has failed"), "seed {seed}: {reason}");
        moved += usize::from(now != master);
        told += usize::from(now == master);
        w.nothing_lost(now);
    }
    assert!(moved > 20, "{moved} moved, {told} did not");
}
