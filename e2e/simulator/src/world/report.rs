//! What is to be seen when something did not hold.

use std::collections::BTreeMap;

use datanode::command::debug::digest;
use datanode::io::Io;

use super::{World, short};

impl World {
    /// Keys whose values are not the same everywhere.
    pub(super) fn differences(&mut self) -> String {
        let mut seen: BTreeMap<Vec<u8>, Vec<(usize, String)>> = BTreeMap::new();
        for node in 0..self.scenario.places {
            let Some(server) = self.server(node) else { continue };
            for entry in server.keyspace.iter(0) {
                let value = format!("{} {:?}", digest::of_value(Some(entry)), entry.expire_at());
                seen.entry(entry.key().to_vec()).or_default().push((node, value));
            }
        }
        let same = |all: &[(usize, String)]| {
            all.len() == self.pods() && all.windows(2).all(|pair| pair[0].1 == pair[1].1)
        };
        seen.retain(|_, all| !same(all));
        seen.iter().map(|(key, all)| format!("\n  {}: {all:?}", String::from_utf8_lossy(key))).collect()
    }

    /// What is to be seen of everybody.
    pub(super) fn describe(&mut self) -> String {
        let mut text = String::new();
        for node in 0..self.scenario.places {
            let now = self.sim.now_at(node);
            let name = short(&self.names[node]).to_owned();
            let mut io = Io::default();
            io.now = now;
            match self.server(node).and_then(|s| s.status(&io)) {
                Some(s) => {
                    text += &format!(
                        "\n  {name}: {:?} epoch {} offset {} promised {} map {} intact {} link {} fenced {} disk {:?} restore {:?}",
                        s.role,
                        s.epoch,
                        s.offset,
                        s.promised,
                        s.map_epoch,
                        s.intact,
                        s.link_up,
                        s.fenced,
                        s.disk_error,
                        s.restore_error
                    );
                }
                None => text += &format!("\n  {name}: down"),
            }
        }
        for i in 0..self.scenario.seats {
            let now = self.sim.now_at(self.sentinel_node(i)).mono_ms();
            match self.sentinel(i).map(|s| (s.knows(), s.status(now))) {
                Some((knows, Some(s))) => {
                    let shard = s.shards.first().map(|s| (s.state, s.reason.clone(), s.epoch));
                    text += &format!("\n  sentinel {i}: knows {knows} {shard:?}");
                }
                _ => text += &format!("\n  sentinel {i}: down"),
            }
        }
        text
    }
}
