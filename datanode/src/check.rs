//! `redis-check-rdb` and `redis-check-aof`: tell whether a file can be loaded, and cut a torn AOF where it is still
//! whole. Output and exit codes are those of Redis 7's tools, in the lines that people and scripts look for.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::aof::manifest::Manifest;
use crate::aof::read::{Element, LogReader, ReadError, starts_with_rdb};
use crate::disk::{self, Disk, RealDisk};
use crate::rdb::decode::{Checksum, Decoder, Event, Expired};
use crate::store::dict::HashSeed;
use crate::store::limits::Limits;

const RDB_USAGE: &str = "Usage: redis-check-rdb <rdb-file-name>";
const AOF_USAGE: &str =
    "Usage: redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>";

/// `redis-check-rdb`: the arguments without the program's name. The exit code: 0 if the file is sound.
pub fn rdb_main(args: &[String]) -> i32 {
    run(|tool| tool.rdb(args))
}

/// `redis-check-aof`: the arguments without the program's name. The exit code: 0 if the log is sound, or has been
/// mended.
pub fn aof_main(args: &[String]) -> i32 {
    run(|tool| tool.aof(args))
}

fn run(check: impl FnOnce(&mut Tool) -> Result<(), Failure>) -> i32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let tool =
        &mut Tool { disk: &RealDisk, answers: &mut io::stdin().lock(), out: &mut io::stdout(), now_ms: now };
    match check(tool) {
        Ok(()) => 0,
        Err(Failure::Told) => 1,
        Err(Failure::Text(text)) => {
            // If standard error is closed there is nobody to tell; the exit code says it.
            let _ = writeln!(io::stderr(), "{text}");
            1
        }
    }
}

/// The check has failed.
enum Failure {
    /// The output says why.
    Told,
    /// This is why.
    Text(String),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Text(e.to_string())
    }
}

/// What to do about an AOF that is not whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mend {
    Nothing,
    Fix,
    ToTimestamp(i64),
}

struct Tool<'a> {
    disk: &'a dyn Disk,
    answers: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    now_ms: i64,
}

impl Tool<'_> {
    fn rdb(&mut self, args: &[String]) -> Result<(), Failure> {
        let [file] = args else { return Err(Failure::Text(RDB_USAGE.into())) };
        let reader = self.open(Path::new(file))?;
        self.check_rdb(file, reader).map(|_| ())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
        self.disk
            .open_read(path)
            .map_err(|e| Failure::Text(format!("Cannot open file {}: {e}", path.display())))
    }

    /// Reads a whole RDB file; what follows it is left to be read.
    fn check_rdb<R: Read>(&mut self, name: &str, reader: R) -> Result<Decoder<R>, Failure> {
        writeln!(self.out, "[offset 0] Checking RDB file {name}")?;
        let expired = Expired::Skip { now_ms: self.now_ms };
        let mut decoder = Decoder::new(reader, Limits::new(HashSeed::new(0)), expired);
        let outcome = loop {
            let event = decoder.next_event();
            let at = decoder.offset();
            match event {
                Ok(Event::Aux(name, value)) => {
                    let (name, value) = (String::from_utf8_lossy(&name), String::from_utf8_lossy(&value));
                    writeln!(self.out, "[offset {at}] AUX FIELD {name} = '{value}'")?;
                }
                Ok(Event::SelectDb(db)) => writeln!(self.out, "[offset {at}] Selecting DB ID {db}")?,
                Ok(Event::Function(_) | Event::ResizeDb(..) | Event::Entry(_)) => {}
                Ok(Event::End(checksum)) => {
                    match checksum {
                        Checksum::Verified => writeln!(self.out, "[offset {at}] Checksum OK")?,
                        Checksum::Disabled => {
                            writeln!(
                                self.out,
                                "[offset {at}] RDB file was saved with checksum disabled: no check performed."
                            )?;
                        }
                        Checksum::None => {}
                    }
                    writeln!(self.out, "[offset {at}] \\o/ RDB looks OK! \\o/")?;
                    break Ok(());
                }
                Err(e) => {
                    writeln!(self.out, "--- RDB ERROR DETECTED ---\n[offset {}] {}", e.offset, e.kind)?;
                    break Err(Failure::Told);
                }
            }
        };
        let counts = decoder.counts();
        writeln!(self.out, "[info] {} keys read", counts.keys)?;
        writeln!(self.out, "[info] {} expires", counts.expires)?;
        writeln!(self.out, "[info] {} already expired", counts.expired)?;
        if counts.empty > 0 {
            writeln!(self.out, "[info] {} empty keys, which are left out when it is loaded", counts.empty)?;
        }
        outcome.map(|()| decoder)
    }

    fn aof(&mut self, args: &[String]) -> Result<(), Failure> {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let usage = || Failure::Text(AOF_USAGE.into());
        let (mend, file) = match words[..] {
            [file] => (Mend::Nothing, file),
            ["--fix", file] => (Mend::Fix, file),
            ["--truncate-to-timestamp", time, file] => match time.parse() {
                Ok(time) if time > 0 => (Mend::ToTimestamp(time), file),
                _ => return Err(Failure::Text("Invalid timestamp, aborting...".into())),
            },
            _ => return Err(usage()),
        };
        if file.starts_with("--") {
            return Err(usage());
        }
        let path = Path::new(file);
        if self.is_manifest(path)? {
            return self.multi_part(path, mend);
        }
        writeln!(self.out, "Start checking Old-Style AOF")?;
        if self.log(path, "AOF", true, mend)? == Outcome::Valid {
            writeln!(self.out, "AOF {} is valid", base_name(path))?;
        }
        Ok(())
    }

    /// By what its first line that is no comment starts with; a log starts with `*`, `#TS` or `REDIS`.
    fn is_manifest(&self, path: &Path) -> Result<bool, Failure> {
        const ENOUGH: u64 = 4096;
        if path.extension().is_some_and(|e| e == "manifest") {
            return self.open(path).map(|_| true);
        }
        let mut start = Vec::new();
        self.open(path)?.take(ENOUGH).read_to_end(&mut start)?;
        let mut lines = start.split(|&b| b == b'\n').filter(|l| !l.starts_with(b"#"));
        Ok(lines.next().is_some_and(|l| l.starts_with(b"file ")))
    }

    fn multi_part(&mut self, path: &Path, mend: Mend) -> Result<(), Failure> {
        writeln!(self.out, "Start checking Multi Part AOF")?;
        let manifest =
            Manifest::parse(&disk::read(self.disk, path)?).map_err(|e| Failure::Text(e.to_string()))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let base: Vec<PathBuf> = manifest.base.iter().map(|p| dir.join(&p.name)).collect();
        let incr: Vec<PathBuf> = manifest.incr.iter().map(|p| dir.join(&p.name)).collect();
        for path in &base {
            let (rdb, _) = starts_with_rdb(self.open(path)?)?;
            let format = if rdb { "RDB" } else { "RESP" };
            writeln!(self.out, "Start to check BASE AOF ({format} format).")?;
            self.part(path, "BASE AOF", incr.is_empty(), mend)?;
        }
        if !incr.is_empty() {
            writeln!(self.out, "Start to check INCR files.")?;
        }
        for (i, path) in incr.iter().enumerate() {
            self.part(path, "INCR AOF", i + 1 == incr.len(), mend)?;
        }
        writeln!(self.out, "All AOF files and manifest are valid")?;
        Ok(())
    }

    fn part(&mut self, path: &Path, what: &str, last: bool, mend: Mend) -> Result<(), Failure> {
        if self.log(path, what, last, mend)? == Outcome::Valid {
            writeln!(self.out, "{what} {} is valid", base_name(path))?;
        }
        Ok(())
    }

    /// Checks one file; `Ok` if it is sound now.
    fn log(&mut self, path: &Path, what: &str, last: bool, mend: Mend) -> Result<Outcome, Failure> {
        let name = base_name(path);
        let size = self.disk.len(path)?;
        if size == 0 {
            writeln!(self.out, "{what} {name} is empty")?;
            return Ok(Outcome::Empty);
        }
        let (rdb, reader) = starts_with_rdb(self.open(path)?)?;
        let (rest, offset): (Box<dyn Read>, u64) = if rdb {
            let decoder = match self.check_rdb(&name, reader) {
                Ok(decoder) => decoder,
                Err(Failure::Told) => {
                    writeln!(self.out, "RDB preamble of AOF file is not sane, aborting.")?;
                    return Err(Failure::Told);
                }
                Err(e) => return Err(e),
            };
            writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
            let offset = decoder.offset();
            (Box::new(decoder.into_rest()), offset)
        } else {
            (Box::new(reader), 0)
        };
        let mut log = LogReader::new(rest, offset);
        let failed = loop {
            match log.next_element() {
                Ok(None) => break None,
                Ok(Some(Element::Timestamp(time))) => {
                    if let Mend::ToTimestamp(limit) = mend
                        && time > limit
                    {
                        return self.cut_before(path, &name, log.before_latest(), last, limit);
                    }
                }
                Ok(Some(_)) => {}
                Err(e) => break Some(e),
            }
        };
        let (valid, lines) = (log.valid(), log.next_line());
        if let Some(e) = &failed {
            writeln!(self.out, "{e}")?;
        }
        if let (None, Mend::ToTimestamp(limit)) = (&failed, mend) {
            writeln!(self.out, "Truncate nothing in {what} {name} to timestamp {limit}")?;
            return Ok(Outcome::Valid);
        }
        let diff = size.saturating_sub(valid);
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={valid}, ok_up_to_line={lines}, diff={diff}"
        )?;
        match failed {
            None => Ok(Outcome::Valid),
            Some(ReadError::Io { .. }) => Err(Failure::Told),
            Some(_) if mend == Mend::Fix && last => self.shrink(path, &name, size, valid),
            Some(_) if mend == Mend::Fix => {
                writeln!(self.out, "Failed to truncate AOF {name} because it is not the last file")?;
                Err(Failure::Told)
            }
            Some(_) => {
                writeln!(self.out, "AOF {name} is not valid. Use the --fix option to try fixing it.")?;
                Err(Failure::Told)
            }
        }
    }

    fn shrink(&mut self, path: &Path, name: &str, size: u64, valid: u64) -> Result<Outcome, Failure> {
        let lost = size - valid;
        writeln!(
            self.out,
            "This will shrink the AOF {name} from {size} bytes, with {lost} bytes, to {valid} bytes"
        )?;
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if !answer.trim_start().to_ascii_lowercase().starts_with('y') {
            writeln!(self.out, "Aborting...")?;
            return Err(Failure::Told);
        }
        self.truncate(path, valid)?;
        writeln!(self.out, "Successfully truncated AOF {name}")?;
        Ok(Outcome::Mended)
    }

    fn cut_before(
        &mut self,
        path: &Path,
        name: &str,
        at: u64,
        last: bool,
        time: i64,
    ) -> Result<Outcome, Failure> {
        let problem = if at == 0 {
            format!("AOF {name} has nothing before timestamp {time}, aborting...")
        } else if !last {
            format!(
                "Failed to truncate AOF {name} to timestamp {time} to offset {at} because it is not the last file.\n\
                 To do it nevertheless, delete the files behind it and their lines in the manifest, and try again."
            )
        } else {
            self.truncate(path, at)?;
            writeln!(self.out, "Successfully truncated AOF {name} to timestamp {time}")?;
            return Ok(Outcome::Mended);
        };
        writeln!(self.out, "{problem}")?;
        Err(Failure::Told)
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<(), Failure> {
        let file = self.disk.open_append(path)?;
        file.truncate(len)?;
        Ok(file.sync()?)
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Valid,
    Empty,
    Mended,
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_fake::FakeDisk;

    const ROOT: &str = "/data";
    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    fn run(disk: &FakeDisk, answer: &str, args: &[&str]) -> (bool, String) {
        let mut out = Vec::new();
        let mut answers = answer.as_bytes();
        let tool = &mut Tool { disk, answers: &mut answers, out: &mut out, now_ms: 0 };
        let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        let outcome =
            if args.last().is_some_and(|f| f.ends_with(".rdb")) { tool.rdb(&args) } else { tool.aof(&args) };
        let mut text = String::from_utf8(out).unwrap();
        if let Err(Failure::Text(t)) = &outcome {
            text.push_str(t);
        }
        (outcome.is_ok(), text)
    }

    fn disk(files: &[(&str, &[u8])]) -> FakeDisk {
        let disk = FakeDisk::with_dir(Path::new(ROOT));
        for (name, bytes) in files {
            disk.create(&Path::new(ROOT).join(name)).unwrap().append(bytes).unwrap();
        }
        disk
    }

    fn expect(got: (bool, String), ok: bool, lines: &[&str]) {
        for line in lines {
            assert!(got.1.contains(line), "{line:?} is not in:\n{}", got.1);
        }
        assert_eq!(got.0, ok, "{}", got.1);
    }

    const RDB: &[u8] = b"REDIS0009\xfa\x01a\x01b\xfe\x00\xfd\x01\0\0\0\0\x01k\x01v\xff\0\0\0\0\0\0\0\0";

    #[test]
    fn rdb_files() {
        let d = disk(&[("ok.rdb", RDB), ("cut.rdb", &RDB[..20]), ("no.rdb", b"something else")]);
        let lines = [
            "AUX FIELD a = 'b'",
            "Selecting DB ID 0",
            "checksum disabled",
            "\\o/ RDB looks OK! \\o/",
            "[info] 1 keys read",
        ];
        expect(run(&d, "", &["/data/ok.rdb"]), true, &lines);
        expect(run(&d, "", &["/data/cut.rdb"]), false, &["RDB ERROR DETECTED", "[offset 20] unexpected end"]);
        expect(run(&d, "", &["/data/no.rdb"]), false, &["wrong signature"]);
        expect(run(&d, "", &["/data/none.rdb"]), false, &["Cannot open file /data/none.rdb"]);
        expect(run(&d, "", &["a", "b.rdb"]), false, &["Usage: redis-check-rdb"]);
    }

    #[test]
    fn a_torn_log_is_mended_only_when_asked_and_confirmed() {
        let torn = [PING, b"*1\r\n$4\r\nPI"].concat();
        let d = disk(&[("a.aof", &torn), ("p.aof", &[RDB, PING].concat()), ("e.aof", b"")]);
        let analyzed = "AOF analyzed: filename=a.aof, size=24, ok_up_to=14, ok_up_to_line=6, diff=10";
        expect(
            run(&d, "", &["/data/a.aof"]),
            false,
            &[analyzed, "AOF a.aof is not valid. Use the --fix option"],
        );
        expect(run(&d, "n\n", &["--fix", "/data/a.aof"]), false, &["Continue? [y/N]: Aborting..."]);
        assert_eq!(d.len(Path::new("/data/a.aof")).unwrap(), 24);
        expect(
            run(&d, "y\n", &["--fix", "/data/a.aof"]),
            true,
            &["to 14 bytes", "Successfully truncated AOF a.aof"],
        );
        assert_eq!(disk::read(&d, Path::new("/data/a.aof")).unwrap(), PING);
        expect(run(&d, "", &["/data/a.aof"]), true, &["AOF a.aof is valid"]);
        expect(run(&d, "", &["/data/p.aof"]), true, &["RDB preamble is OK", "AOF p.aof is valid"]);
        expect(run(&d, "", &["/data/e.aof"]), true, &["AOF e.aof is empty"]);
        expect(run(&d, "", &["--fix"]), false, &["Usage: redis-check-aof"]);
    }

    #[test]
    fn a_log_goes_back_in_time() {
        let bytes = [b"#TS:100\r\n", PING, b"#TS:200\r\n", PING].concat();
        let d = disk(&[("t.aof", &bytes)]);
        let cut = |time| run(&d, "", &["--truncate-to-timestamp", time, "/data/t.aof"]);
        expect(cut("50"), false, &["has nothing before timestamp 50"]);
        expect(cut("200"), true, &["Truncate nothing"]);
        expect(cut("150"), true, &["Successfully truncated AOF t.aof to timestamp 150"]);
        assert_eq!(d.len(Path::new("/data/t.aof")).unwrap(), 23);
        expect(cut("0"), false, &["Invalid timestamp"]);
    }

    #[test]
    fn multi_part_logs() {
        let manifest = b"file b.rdb seq 1 type b\nfile 1.aof seq 1 type i\nfile 2.aof seq 2 type i\n";
        let d = disk(&[("m", manifest), ("b.rdb", RDB), ("1.aof", PING), ("2.aof", &PING[..9])]);
        let lines = [
            "BASE AOF (RDB format)",
            "BASE AOF b.rdb is valid",
            "INCR AOF 1.aof is valid",
            "2.aof is not valid",
        ];
        expect(run(&d, "", &["/data/m"]), false, &lines);
        expect(run(&d, "y", &["--fix", "/data/m"]), true, &["All AOF files and manifest are valid"]);
        expect(
            run(&d, "", &["/data/m"]),
            true,
            &["INCR AOF 2.aof is empty", "All AOF files and manifest are valid"],
        );
        d.create(Path::new("/data/1.aof")).unwrap().append(b"junk").unwrap();
        expect(run(&d, "y", &["--fix", "/data/m"]), false, &["not the last file"]);
        let d = disk(&[("x.manifest", b"file ../b seq 1 type b\n")]);
        expect(run(&d, "", &["/data/x.manifest"]), false, &["line 1", "plain file name"]);
    }
}
