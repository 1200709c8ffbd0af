//! Reading from and writing to sockets, many at a time, with the help of other threads where `io-threads` asks for it.
//!
//! Fork and join: the loop hands a part of the transfers to each helper, does the rest itself, and goes on when all are
//! done. A helper owns what it has begun until then, so nothing is ever used by two threads; what it has not begun when the
//! loop is done with its own part, the loop takes back. Whether helpers are asked at all is decided by what that has
//! brought so far: where there are fewer processors than there is work for, they only cost.

use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use super::Socket;
use super::stream::Stream;
use crate::io::Output;

/// Read this much from one connection before others get their turn, bytes: what is read is served in one go.
pub(super) const READ_CHUNK: usize = 16 * 1024;
/// Of a request that is longer than that, what is missing of it, and no more than this, bytes.
const LARGE_READ_CHUNK: usize = 1024 * 1024;
/// With fewer transfers for each thread than this, handing them over costs more than it saves (as in Redis).
const LEAST_EACH: usize = 2;
/// How often a thread looks whether something has come before it sleeps, or lets others have the processor.
const SPINS: u32 = 500;

/// One socket's reading or writing.
pub(super) struct Transfer {
    pub(super) socket: Socket,
    pub(super) work: Work,
}

/// What is to be done, and afterwards what came of it.
pub(super) enum Work {
    /// Append what there is, at most `most` bytes, to a buffer.
    Read { into: Vec<u8>, most: usize, result: std::io::Result<usize> },
    /// Send what may leave.
    Write { from: Output, sent: usize, end: End },
}

/// How a writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All has left.
    Complete,
    /// The kernel takes no more for now.
    Full,
    /// The connection is broken.
    Broken,
}

impl Transfer {
    /// `wanted`: so much is missing of the request that has begun; 0 where that is not known.
    pub(super) fn read(socket: Socket, mut into: Vec<u8>, wanted: usize) -> Transfer {
        let most = wanted.clamp(READ_CHUNK, LARGE_READ_CHUNK);
        if wanted == most {
            into.reserve_exact(most);
        } else {
            into.reserve(most);
        }
        Transfer { socket, work: Work::Read { into, most, result: Ok(0) } }
    }

    pub(super) fn write(socket: Socket, from: Output) -> Transfer {
        Transfer { socket, work: Work::Write { from, sent: 0, end: End::Complete } }
    }

    fn carry_out(&mut self) {
        let stream = &mut self.socket.stream;
        match &mut self.work {
            Work::Read { into, most, result } => *result = receive(stream, into, *most),
            Work::Write { from, sent, end } => *end = send(stream, from, sent),
        }
    }
}

/// Appends what a socket has to a buffer with room for it. `Read` would want the room filled with zeros first.
#[allow(unsafe_code)]
fn receive(stream: &Stream, buffer: &mut Vec<u8>, most: usize) -> std::io::Result<usize> {
    let room = buffer.spare_capacity_mut();
    let most = room.len().min(most);
    // SAFETY: `room` is at least `most` bytes of memory that is ours to write, and the descriptor is open.
    let n = unsafe { libc::recv(stream.as_raw_fd(), room.as_mut_ptr().cast(), most, 0) };
    let n = usize::try_from(n).map_err(|_| std::io::Error::last_os_error())?;
    // SAFETY: the kernel has just written these `n` bytes, which are within the capacity.
    unsafe { buffer.set_len(buffer.len() + n) };
    Ok(n)
}

fn send(stream: &mut Stream, output: &mut Output, sent: &mut usize) -> End {
    while !output.sendable().is_empty() {
        match stream.write(output.sendable()) {
            Ok(n) => {
                output.consume(n);
                *sent += n;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return End::Full,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return End::Broken,
        }
    }
    End::Complete
}

/// Where the loop and a helper meet. `state` says whose turn it is.
struct Desk {
    state: AtomicU32,
    transfers: Mutex<Vec<Transfer>>,
}

/// Nothing to do; the helper looks now and then.
const IDLE: u32 = 0;
/// Nothing to do; the helper sleeps.
const ASLEEP: u32 = 1;
/// There is something to do, which has not been begun.
const ASKED: u32 = 2;
/// The helper is at work.
const BUSY: u32 = 3;
/// What was asked for is done.
const DONE: u32 = 4;

impl Desk {
    /// Nobody holds the lock for long, nor panics while holding it.
    fn with<R>(&self, f: impl FnOnce(&mut Vec<Transfer>) -> R) -> R {
        f(&mut self.transfers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes from one state to another; the state it is in if it is not the one to go from.
    fn pass(&self, from: u32, to: u32) -> Result<u32, u32> {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
    }

    /// The helper's life.
    fn serve(&self) {
        loop {
            let mut spins = 0;
            while self.pass(ASKED, BUSY).is_err() {
                std::hint::spin_loop();
                spins = (spins + 1).min(SPINS);
                if spins == SPINS {
                    let slept = self.pass(IDLE, ASLEEP);
                    // Nothing is lost if it has been asked meanwhile: an early wake-up makes the next sleep a short one.
                    if slept.is_ok() || slept == Err(ASLEEP) {
                        std::thread::park();
                    }
                }
            }
            self.with(|transfers| transfers.iter_mut().for_each(Transfer::carry_out));
            self.state.store(DONE, Ordering::Release);
        }
    }
}

/// What a transfer has taken, with helpers and without; when the worse of both is tried again.
#[derive(Debug, Clone)]
struct Experience {
    /// Seconds, the last ones counting most: without helpers, and with.
    mean: [f64; 2],
    wait: u32,
    left: u32,
}

impl Experience {
    /// How much the last measurement counts.
    const WEIGHT: f64 = 0.1;
    /// The worse way is tried after so many uses of the better one, after twice as many each time it is still worse.
    const SHORTEST_WAIT: u32 = 16;
    const LONGEST_WAIT: u32 = 16 * 1024;

    fn new() -> Experience {
        Experience { mean: [f64::INFINITY, 0.0], wait: Self::SHORTEST_WAIT, left: Self::SHORTEST_WAIT }
    }

    /// Whether helpers have been the better way.
    fn helpers_pay(&self) -> bool {
        self.mean[1] < self.mean[0]
    }

    /// Whether helpers are asked this time.
    fn choose(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.helpers_pay()
            }
            None => !self.helpers_pay(),
        }
    }

    fn note(&mut self, shared: bool, took: f64) {
        let before = self.helpers_pay();
        let mean = &mut self.mean[usize::from(shared)];
        let known = mean.is_finite() && *mean > 0.0;
        *mean = if known { *mean + (took - *mean) * Self::WEIGHT } else { took };
        if self.helpers_pay() != before {
            (self.wait, self.left) = (Self::SHORTEST_WAIT, Self::SHORTEST_WAIT);
        } else if shared != before {
            self.wait = (self.wait * 2).min(Self::LONGEST_WAIT);
            self.left = self.wait;
        }
    }
}

/// The loop's thread and its helpers.
pub(super) struct Crew {
    helpers: Vec<(Arc<Desk>, Thread)>,
    /// Of reading, and of writing.
    experience: [Experience; 2],
}

impl Crew {
    /// `threads`: with the loop's own. The helpers live as long as the process.
    pub(super) fn new(threads: usize) -> std::io::Result<Crew> {
        let helper = |n: usize| {
            let desk = Arc::new(Desk { state: AtomicU32::new(IDLE), transfers: Mutex::default() });
            let own = desk.clone();
            let thread = std::thread::Builder::new().name(format!("io-{n}")).spawn(move || own.serve())?;
            Ok((desk, thread.thread().clone()))
        };
        let helpers = (1..threads).map(helper).collect::<std::io::Result<_>>()?;
        Ok(Crew { helpers, experience: [Experience::new(), Experience::new()] })
    }

    /// Number of threads, with the loop's own.
    pub(super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Carries all transfers out, `together` with the helpers if that is worth it; true if it was. Their order may change.
    pub(super) fn carry_out(&mut self, transfers: &mut Vec<Transfer>, together: bool) -> bool {
        if !together || self.helpers.is_empty() || transfers.len() < self.threads() * LEAST_EACH {
            transfers.iter_mut().for_each(Transfer::carry_out);
            return false;
        }
        let writes = usize::from(matches!(transfers[0].work, Work::Write { .. }));
        let (shared, begun) = (self.experience[writes].choose(), Instant::now());
        if shared {
            self.share(transfers);
        } else {
            transfers.iter_mut().for_each(Transfer::carry_out);
        }
        self.experience[writes].note(shared, begun.elapsed().as_secs_f64() / transfers.len() as f64);
        shared
    }

    fn share(&self, transfers: &mut Vec<Transfer>) {
        let each = transfers.len().div_ceil(self.threads());
        for (desk, thread) in &self.helpers {
            let keep = transfers.len().saturating_sub(each);
            desk.with(|theirs| theirs.extend(transfers.drain(keep..)));
            if desk.state.swap(ASKED, Ordering::AcqRel) == ASLEEP {
                thread.unpark();
            }
        }
        transfers.iter_mut().for_each(Transfer::carry_out);
        for (desk, _) in &self.helpers {
            let begun = desk.pass(ASKED, IDLE).is_err();
            let mut spins = 0;
            while begun && desk.state.load(Ordering::Acquire) != DONE {
                std::hint::spin_loop();
                spins = (spins + 1).min(SPINS);
                if spins == SPINS {
                    std::thread::yield_now();
                }
            }
            let own = transfers.len();
            desk.with(|theirs| transfers.append(theirs));
            if begun {
                desk.state.store(IDLE, Ordering::Release);
            } else {
                transfers[own..].iter_mut().for_each(Transfer::carry_out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Io;
    use std::io::Read;
    use std::net::TcpListener;

    /// Pairs of connected sockets: ours, and the other ends.
    fn pairs(io: &mut Io, n: usize) -> Vec<(Socket, std::net::TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = |_| {
            let other = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let own = listener.accept().unwrap().0;
            (Socket::new(io.open(), Stream::Tcp(mio::net::TcpStream::from_std(own))), other)
        };
        (0..n).map(pair).collect()
    }

    #[test]
    fn helpers_do_what_the_loop_would_do() {
        for (threads, sockets) in [(1, 5), (2, 3), (3, 7), (3, 64)] {
            let (mut crew, mut io) = (Crew::new(threads).unwrap(), Io::default());
            let mut pairs = pairs(&mut io, sockets);
            let (may_share, mut shares) = (threads > 1 && sockets >= threads * LEAST_EACH, 0);
            // Often enough for helpers to fall asleep and to be asked while they are about to.
            for round in 0..200 {
                if round % 50 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                let (mut transfers, mut others) = (Vec::new(), Vec::new());
                for (socket, other) in pairs.drain(..) {
                    let mut output = Output::default();
                    output.bytes().extend_from_slice(format!("{round} {:?}", socket.id).as_bytes());
                    others.push((socket.id, other));
                    transfers.push(Transfer::write(socket, output));
                }
                if may_share && round % 2 == 0 {
                    crew.share(&mut transfers);
                } else {
                    shares += usize::from(crew.carry_out(&mut transfers, true));
                }
                assert_eq!(transfers.len(), sockets);
                for transfer in transfers {
                    let Transfer { socket, work: Work::Write { sent, end, .. } } = transfer else { panic!() };
                    let place = others.iter().position(|(id, _)| *id == socket.id).unwrap();
                    let mut other = others.swap_remove(place).1;
                    let (mut got, text) = ([0; 64], format!("{round} {:?}", socket.id));
                    let n = other.read(&mut got).unwrap();
                    assert_eq!((sent, end, &got[..n]), (text.len(), End::Complete, text.as_bytes()));
                    other.write_all(text.as_bytes()).unwrap();
                    pairs.push((socket, other));
                }
                let (sockets, others): (Vec<_>, Vec<_>) = pairs.drain(..).unzip();
                let mut others: Vec<_> = others.into_iter().map(Some).collect();
                let ids: Vec<_> = sockets.iter().map(|s: &Socket| s.id).collect();
                let mut reads = sockets.into_iter().map(|s| Transfer::read(s, b"old ".to_vec(), 0)).collect();
                crew.carry_out(&mut reads, true);
                for read in reads {
                    let Transfer { socket, work: Work::Read { into, result, .. } } = read else { panic!() };
                    let text = format!("{round} {:?}", socket.id);
                    assert_eq!(result.unwrap(), text.len());
                    assert_eq!(into, format!("old {text}").as_bytes());
                    let place = ids.iter().position(|id| *id == socket.id).unwrap();
                    pairs.push((socket, others[place].take().unwrap()));
                }
            }
            assert_eq!(shares > 0, may_share);
        }
    }

    #[test]
    fn helpers_are_asked_where_it_has_paid() {
        for (alone, shared) in [(1.0, 3.0), (3.0, 1.0)] {
            let (mut experience, mut asked) = (Experience::new(), 0);
            for _ in 0..100_000 {
                let choice = experience.choose();
                asked += usize::from(choice);
                experience.note(choice, if choice { shared } else { alone });
            }
            assert!(if shared < alone { asked > 99_900 } else { (5..100).contains(&asked) }, "{asked}");
        }
        // What was better before need not be so for ever.
        let (mut experience, mut asked) = (Experience::new(), 0);
        for i in 0..100_000 {
            let choice = experience.choose();
            asked += usize::from(choice);
            experience.note(choice, if choice == (i < 50_000) { 1.0 } else { 3.0 });
        }
        assert!((45_000..75_000).contains(&asked), "{asked}");
    }
}
