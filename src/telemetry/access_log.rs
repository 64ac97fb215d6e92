//! The access log: whoever answers a request writes its line into memory, one thread writes what has gathered to the
//! target. A request never waits for it.

mod line;
mod waiting;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;

use crate::config::settings::{self, LogFormat, LogTarget};
pub use line::Line;
use waiting::{Lines, Waiting};

/// Bytes that may wait for the writer, of those threads that share a shelf: some 5,000 lines.
const ROOM: usize = 2 * 1024 * 1024;
/// How long a line waits for others: without, each would wake the writer and be written by itself, for half of what a
/// hit costs.
const GATHERS: Duration = Duration::from_millis(2);
/// What a buffer may keep of its memory when it is empty: more is needed after a stall only.
const KEPT_BYTES: usize = 256 * 1024;

/// Where finished requests are logged.
#[derive(Debug)]
pub struct AccessLog {
    settings: settings::AccessLog,
    /// Lines that were lost.
    dropped: IntCounter,
    /// `None`: the log is off.
    writer: Option<Writer>,
}

impl AccessLog {
    /// Opens the log's target and starts its writer. `dropped` counts lines that are lost.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread be started.
    pub fn open(settings: &settings::AccessLog, dropped: IntCounter) -> io::Result<Self> {
        let writer = match open(&settings.target)? {
            Some(sink) => Some(Writer::start(sink, settings, ROOM, dropped.clone())?),
            None => None,
        };
        Ok(AccessLog { settings: settings.clone(), dropped, writer })
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &settings::AccessLog {
        &self.settings
    }

    /// Whether it is written anywhere.
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Takes in a line, or drops and counts it when too many wait.
    pub fn write(&self, line: &Line<'_>) {
        let Some(writer) = &self.writer else { return };
        let taken = writer.waiting.put(|to, clock| match self.settings.format {
            LogFormat::Json => line::json(to, clock, line),
            LogFormat::Combined => line::combined(to, clock, line),
        });
        if !taken {
            self.dropped.inc();
        }
    }

    /// Has the file opened again, after a rotation moved it away.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen.store(true, Ordering::Release);
            writer.waiting.tell();
        }
    }

    /// Has everything written that was taken in, and ends the writer; blocks for at most `patience`. Returns whether
    /// all was written in that time.
    pub fn close(&self, patience: Duration) -> bool {
        let Some(writer) = &self.writer else { return true };
        writer.waiting.close();
        // The writer drops its end when it is done, which is the answer waited for.
        !matches!(writer.ended.lock().recv_timeout(patience), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

/// The near end of the writing thread.
#[derive(Debug)]
struct Writer {
    waiting: Arc<Waiting>,
    reopen: Arc<AtomicBool>,
    ended: Mutex<Receiver<()>>,
}

impl Writer {
    fn start(
        sink: Box<dyn Write + Send>,
        settings: &settings::AccessLog,
        room: usize,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let (ending, ended) = mpsc::channel();
        let (waiting, woken) = Waiting::new(room);
        let reopen = Arc::<AtomicBool>::default();
        let thread = WriterThread {
            reopen: reopen.clone(),
            target: settings.target.clone(),
            sink,
            failing: false,
            dropped,
            _ending: ending,
        };
        let takes_from = waiting.clone();
        thread::Builder::new().name("access-log".to_owned()).spawn(move || thread.run(&takes_from, &woken))?;
        Ok(Writer { waiting, reopen, ended: Mutex::new(ended) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.waiting.close();
    }
}

/// The far end: writes until it is closed.
struct WriterThread {
    reopen: Arc<AtomicBool>,
    target: LogTarget,
    sink: Box<dyn Write + Send>,
    /// Whether the last write failed: reported once, not once a line.
    failing: bool,
    dropped: IntCounter,
    _ending: mpsc::Sender<()>,
}

impl WriterThread {
    fn run(mut self, waiting: &Waiting, woken: &Receiver<()>) {
        let mut lines = Lines::default();
        while let Ok(()) = woken.recv() {
            thread::sleep(GATHERS);
            if waiting.take(&mut lines, |lines| self.write(lines)) {
                return;
            }
            if self.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
        }
    }

    fn write(&mut self, lines: &mut Lines) {
        if lines.count == 0 {
            return;
        }
        let result = if self.failing {
            // A write that failed may have left part of a line.
            self.sink.write_all(b"\n").and_then(|()| self.sink.write_all(&lines.text))
        } else {
            self.sink.write_all(&lines.text)
        };
        match result.and_then(|()| self.sink.flush()) {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.dropped.inc_by(lines.count);
                if !self.failing {
                    tracing::warn!(%error, "the access log cannot be written; lines are dropped");
                }
                self.failing = true;
            }
        }
        lines.text.clear();
        lines.text.shrink_to(KEPT_BYTES);
        lines.count = 0;
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(Some(sink)) => {
                self.sink = sink;
                self.failing = false;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the access log cannot be opened again; writing to the old file"),
        }
    }
}

fn open(target: &LogTarget) -> io::Result<Option<Box<dyn Write + Send>>> {
    Ok(match target {
        LogTarget::Off => None,
        LogTarget::Stdout => Some(Box::new(io::stdout())),
        LogTarget::File(path) => Some(Box::new(open_file(path)?)),
    })
}

/// Access logs tell who asked for what: not for everybody's eyes.
fn open_file(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("access log {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::Sender;
    use std::time::Instant;

    use super::super::date::LastSecond;
    use super::super::record::tests::{sample, told};
    use super::*;

    /// Less than there is room for.
    const LINES: usize = 4096;
    const PATIENCE: Duration = Duration::from_secs(10);

    fn to_file(path: &Path) -> AccessLog {
        let settings = settings::AccessLog { target: LogTarget::File(path.to_owned()), format: LogFormat::Json };
        AccessLog::open(&settings, IntCounter::new("dropped", "dropped").unwrap()).unwrap()
    }

    /// A line of which all are equally long.
    fn write(log: &AccessLog) {
        log.write(&Line { route: "app", upstream: Some("web"), record: &sample(), told: told() });
    }

    /// Bytes of so many lines.
    fn lines(count: usize) -> usize {
        let mut line = Vec::new();
        let told = Line { route: "app", upstream: Some("web"), record: &sample(), told: told() };
        line::json(&mut line, &mut LastSecond::default(), &told);
        count * line.len()
    }

    fn to_sink(sink: impl Write + Send + 'static, room: usize) -> AccessLog {
        let settings = settings::AccessLog { target: LogTarget::Off, format: LogFormat::Json };
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let writer = Writer::start(Box::new(sink), &settings, room, dropped.clone()).unwrap();
        AccessLog { settings, dropped, writer: Some(writer) }
    }

    /// Says when a write begins and lets it go on when told.
    struct Gate {
        entered: Sender<()>,
        open: Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.open.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_shelf_drops_and_counts_without_blocking() {
        let ((entered, enters), (opener, open)) = (mpsc::channel(), mpsc::channel());
        let log = to_sink(Gate { entered, open }, lines(2));
        write(&log);
        enters.recv_timeout(PATIENCE).unwrap();
        for _ in 0..9 {
            write(&log);
        }
        assert_eq!(log.dropped.get(), 7, "one is being written and two wait");
        drop(opener);
        assert!(log.close(PATIENCE));
        write(&log);
        assert_eq!(log.dropped.get(), 8, "after the end");
    }

    #[test]
    fn records_of_a_moment_are_written_together() {
        struct Count(mpsc::Sender<usize>);
        impl Write for Count {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.send(bytes.iter().filter(|byte| **byte == b'\n').count());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (counts, counted) = mpsc::channel();
        let log = to_sink(Count(counts), ROOM);
        for _ in 0..200 {
            write(&log);
            // As on a busy server: time enough for a writer to write each by itself.
            let sent = Instant::now();
            while sent.elapsed() < Duration::from_micros(30) {
                std::hint::spin_loop();
            }
        }
        assert!(log.close(PATIENCE));
        drop(log);
        let counted: Vec<usize> = counted.iter().collect();
        assert_eq!(counted.iter().sum::<usize>(), 200);
        assert!(counted.len() <= 40, "200 records in {} writes", counted.len());
    }

    #[test]
    fn closing_gives_up_on_a_target_that_hangs() {
        let ((entered, enters), (_opener, open)) = (mpsc::channel(), mpsc::channel());
        let log = to_sink(Gate { entered, open }, lines(2));
        write(&log);
        enters.recv_timeout(PATIENCE).unwrap();
        assert!(!log.close(Duration::from_millis(1)));
    }

    /// Fails at its first write; tells what it was given.
    struct FirstFails(bool, Sender<Vec<u8>>);

    impl Write for FirstFails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fails = std::mem::replace(&mut self.0, false);
            let _ = self.1.send(bytes.to_vec());
            if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failing_target_loses_lines_counted_and_recovers_on_a_new_line() {
        let (sent, written) = mpsc::channel();
        let log = to_sink(FirstFails(true, sent), lines(8));
        write(&log);
        written.recv_timeout(PATIENCE).unwrap();
        write(&log);
        assert!(log.close(PATIENCE));
        assert_eq!(log.dropped.get(), 1);
        let written: Vec<Vec<u8>> = written.try_iter().collect();
        assert_eq!(written[0], b"\n");
        assert!(serde_json::from_slice::<serde_json::Value>(&written[1]).is_ok());
    }

    #[test]
    fn reopening_follows_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let log = to_file(&path);
        write(&log);
        fs::rename(&path, &moved).unwrap();
        log.reopen();
        // The writer looks at its signals between batches: these lines may still go to the old file, none is lost.
        while !path.exists() {
            log.reopen();
            thread::yield_now();
        }
        write(&log);
        assert!(log.close(PATIENCE));
        assert_eq!(fs::read_to_string(&moved).unwrap().lines().count(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn each_line_of_many_threads_is_written_whole_or_counted() {
        let (sent, written) = mpsc::channel();
        let log = to_sink(FirstFails(false, sent), lines(100));
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| (0..2000).for_each(|_| write(&log)));
            }
        });
        assert!(log.close(PATIENCE));
        let text = written.try_iter().collect::<Vec<_>>().concat();
        let line = text.split_inclusive(|byte| *byte == b'\n').next().unwrap();
        assert!(text.chunks(line.len()).all(|each| each == line), "lines are mixed");
        assert_eq!((text.len() / line.len()) as u64 + log.dropped.get(), 12 * 2000);
    }

    #[test]
    fn a_log_that_is_given_up_writes_what_it_has() {
        let (sent, written) = mpsc::channel();
        write(&to_sink(FirstFails(false, sent), lines(8)));
        let text = written.recv_timeout(PATIENCE).unwrap();
        assert_eq!(text.len(), lines(1));
        assert!(written.recv_timeout(PATIENCE).is_err_and(|end| end == mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn closing_writes_all_that_was_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = to_file(&path);
        for _ in 0..LINES {
            write(&log);
        }
        assert!(log.close(PATIENCE));
        let lines = fs::read_to_string(&path).unwrap().lines().count() as u64;
        assert_eq!(lines + log.dropped.get(), LINES as u64);
        assert_eq!(log.dropped.get(), 0);
    }

    #[test]
    fn opening_names_the_file_it_cannot_open() {
        let settings = settings::AccessLog {
            target: LogTarget::File("/no/such/directory/access.log".into()),
            format: LogFormat::Json,
        };
        let error = AccessLog::open(&settings, IntCounter::new("dropped", "dropped").unwrap()).unwrap_err();
        assert!(error.to_string().contains("/no/such/directory/access.log"));
    }
}
