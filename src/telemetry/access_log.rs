//! The access log: requests hand their records to a bounded channel, one thread formats and writes them in batches.
//! A request never waits for it.

mod line;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;

use super::record::RequestRecord;
use crate::config::settings::{self, LogFormat, LogTarget};

/// Records that may wait for the writer.
const CAPACITY: usize = 4096;
/// How long a record waits for others: without, each would wake the writer and be written by itself, for half of what a
/// hit costs.
const GATHERS: Duration = Duration::from_millis(2);
/// A batch is written once it has this many bytes, or when no more records wait.
const BATCH_BYTES: usize = 256 * 1024;

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
            Some(sink) => Some(Writer::start(sink, settings, CAPACITY, dropped.clone())?),
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

    /// Takes in a record, or drops and counts it when too many wait.
    pub fn write(&self, record: RequestRecord) {
        if let Some(writer) = &self.writer
            && writer.records.try_send(Some(record)).is_err()
        {
            self.dropped.inc();
        }
    }

    /// Has the file opened again, after a rotation moved it away.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.signals.reopen.store(true, Ordering::Release);
            writer.wake();
        }
    }

    /// Has everything written that was taken in, and ends the writer; blocks for at most `patience`. Returns whether
    /// all was written in that time.
    pub fn close(&self, patience: Duration) -> bool {
        let Some(writer) = &self.writer else { return true };
        writer.signals.close.store(true, Ordering::Release);
        writer.wake();
        // The writer drops its end when it is done, which is the answer waited for.
        !matches!(writer.ended.lock().recv_timeout(patience), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

/// The near end of the writing thread.
#[derive(Debug)]
struct Writer {
    /// `None` only wakes the thread.
    records: SyncSender<Option<RequestRecord>>,
    signals: Arc<Signals>,
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug, Default)]
struct Signals {
    reopen: AtomicBool,
    close: AtomicBool,
}

impl Writer {
    fn start(
        sink: Box<dyn Write + Send>,
        settings: &settings::AccessLog,
        capacity: usize,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let (records, waiting) = mpsc::sync_channel(capacity);
        let (ending, ended) = mpsc::channel();
        let signals = Arc::<Signals>::default();
        let thread = WriterThread {
            waiting,
            signals: signals.clone(),
            target: settings.target.clone(),
            format: settings.format,
            sink,
            batch: Vec::with_capacity(BATCH_BYTES),
            lines: 0,
            failing: false,
            dropped,
            _ending: ending,
        };
        thread::Builder::new().name("access-log".to_owned()).spawn(|| thread.run())?;
        Ok(Writer { records, signals, ended: Mutex::new(ended) })
    }

    /// Makes the thread look at its signals. A full channel needs no waking: the thread is at work.
    fn wake(&self) {
        let _ = self.records.try_send(None);
    }
}

/// The far end: formats and writes until it is closed or nobody can send any more.
struct WriterThread {
    waiting: Receiver<Option<RequestRecord>>,
    signals: Arc<Signals>,
    target: LogTarget,
    format: LogFormat,
    sink: Box<dyn Write + Send>,
    batch: Vec<u8>,
    /// Lines in `batch`.
    lines: u64,
    /// Whether the last write failed: reported once, not once a line.
    failing: bool,
    dropped: IntCounter,
    _ending: mpsc::Sender<()>,
}

impl WriterThread {
    fn run(mut self) {
        while let Ok(first) = self.waiting.recv() {
            thread::sleep(GATHERS);
            self.format(first);
            self.drain();
            if self.signals.close.load(Ordering::Acquire) {
                // What was taken in between the last look and the signal.
                return self.drain();
            }
            if self.signals.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
        }
    }

    /// Writes everything that waits.
    fn drain(&mut self) {
        while let Ok(next) = self.waiting.try_recv() {
            self.format(next);
            if self.batch.len() >= BATCH_BYTES {
                self.write();
            }
        }
        self.write();
    }

    fn format(&mut self, record: Option<RequestRecord>) {
        let Some(record) = record else { return };
        match self.format {
            LogFormat::Json => line::json(&mut self.batch, &record),
            LogFormat::Combined => line::combined(&mut self.batch, &record),
        }
        self.lines += 1;
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let result = if self.failing {
            // A write that failed may have left part of a line.
            self.sink.write_all(b"\n").and_then(|()| self.sink.write_all(&self.batch))
        } else {
            self.sink.write_all(&self.batch)
        };
        match result.and_then(|()| self.sink.flush()) {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.dropped.inc_by(self.lines);
                if !self.failing {
                    tracing::warn!(%error, "the access log cannot be written; lines are dropped");
                }
                self.failing = true;
            }
        }
        self.batch.clear();
        self.lines = 0;
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

    use super::super::record::tests::sample;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn to_file(path: &Path) -> AccessLog {
        let settings = settings::AccessLog { target: LogTarget::File(path.to_owned()), format: LogFormat::Json };
        AccessLog::open(&settings, IntCounter::new("dropped", "dropped").unwrap()).unwrap()
    }

    fn to_sink(sink: impl Write + Send + 'static, capacity: usize) -> AccessLog {
        let settings = settings::AccessLog { target: LogTarget::Off, format: LogFormat::Json };
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let writer = Writer::start(Box::new(sink), &settings, capacity, dropped.clone()).unwrap();
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
    fn a_full_channel_drops_and_counts_without_blocking() {
        let ((entered, enters), (opener, open)) = (mpsc::channel(), mpsc::channel());
        let log = to_sink(Gate { entered, open }, 2);
        log.write(sample());
        enters.recv_timeout(PATIENCE).unwrap();
        for _ in 0..9 {
            log.write(sample());
        }
        assert_eq!(log.dropped.get(), 7, "one is being written and two wait");
        drop(opener);
        assert!(log.close(PATIENCE));
        log.write(sample());
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
        let log = to_sink(Count(counts), CAPACITY);
        for _ in 0..200 {
            log.write(sample());
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
        let log = to_sink(Gate { entered, open }, 2);
        log.write(sample());
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
        let log = to_sink(FirstFails(true, sent), 8);
        log.write(sample());
        written.recv_timeout(PATIENCE).unwrap();
        log.write(sample());
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
        log.write(sample());
        fs::rename(&path, &moved).unwrap();
        log.reopen();
        // The writer looks at its signals between batches: these lines may still go to the old file, none is lost.
        while !path.exists() {
            log.reopen();
            thread::yield_now();
        }
        log.write(sample());
        assert!(log.close(PATIENCE));
        assert_eq!(fs::read_to_string(&moved).unwrap().lines().count(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn closing_writes_all_that_was_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = to_file(&path);
        for _ in 0..CAPACITY {
            log.write(sample());
        }
        assert!(log.close(PATIENCE));
        let lines = fs::read_to_string(&path).unwrap().lines().count() as u64;
        assert_eq!(lines + log.dropped.get(), CAPACITY as u64);
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
