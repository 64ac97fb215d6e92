//! Real processes: started with their output captured, waited for within bounds, killed when dropped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{PATIENCE, within};

/// Lines of output that are kept; earlier ones are forgotten.
const MAX_LINES: usize = 20_000;
/// Lines shown of a process whose test failed.
const SHOWN_LINES: usize = 40;
/// Pause between looks at what can only be polled.
pub const POLL: Duration = Duration::from_millis(10);

/// A running process.
pub struct Process {
    name: String,
    child: Child,
    /// A process that has taken over from the child.
    successor: Option<u32>,
    output: Arc<Output>,
}

/// What it printed on both streams, in the order read.
struct Output {
    lines: Mutex<VecDeque<String>>,
    /// Lines printed in all, and how many of the two streams have ended.
    progress: watch::Sender<(usize, usize)>,
}

/// How a process ended and what it had printed.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its output, standard output and error together.
    pub output: String,
}

impl Process {
    /// Starts it, with nothing on its standard input.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{name} can't be started ({error}); tests/run installs what the tests need")
        });
        let output = Arc::new(Output { lines: Mutex::default(), progress: watch::Sender::new((0, 0)) });
        read_lines(child.stdout.take().expect("it is piped"), output.clone());
        read_lines(child.stderr.take().expect("it is piped"), output.clone());
        Process { name, child, successor: None, output }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        let lines = self.output.lines.lock().expect("no holder panics");
        lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Waits for a line, printed already or still to come, in which `find` finds something.
    pub async fn line<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let mut progress = self.output.progress.subscribe();
        let waiting = async {
            loop {
                let ended = progress.borrow_and_update().1 == 2;
                if let Some(found) =
                    self.output.lines.lock().expect("no holder panics").iter().find_map(|line| find(line))
                {
                    return found;
                }
                assert!(!ended, "{} ended without {what}", self.name);
                progress.changed().await.expect("the sender lives as long as self");
            }
        };
        within(&format!("{what} in the output of {}", self.name), waiting).await
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, e.g. `HUP`. The shell's `kill` does it: that needs neither `unsafe` nor a package.
    pub fn signal(&self, name: &str) {
        let process = self.successor.unwrap_or(self.child.id());
        let kill = format!("kill -{name} {process}");
        let status = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert!(status.success(), "{kill}");
        if name == "STOP" {
            // Each thread stops when its turn comes: on a busy machine one may go on for a while.
            let began = Instant::now();
            while !has_stopped(process) {
                assert!(began.elapsed() < PATIENCE, "{process} does not stop");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits until it ends well, having handed over to another process, which is signalled and killed from then on.
    pub async fn hand_over_to(&mut self, successor: u32) {
        self.successor = Some(successor);
        let ending = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("it is our child") {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let status = within("the end of a process that has handed over", ending).await;
        assert!(status.success(), "{status}");
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Waits until it ends by itself.
    pub async fn finish(mut self, patience: Duration) -> Finished {
        let ending = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("it is our child") {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let Ok(status) = tokio::time::timeout(patience, ending).await else {
            panic!("{} has not ended after {patience:?}", self.name)
        };
        let mut progress = self.output.progress.subscribe();
        within("the end of its output", progress.wait_for(|(_, ended)| *ended == 2)).await.expect("the sender lives");
        Finished { status, output: self.output() }
    }
}

/// Runs a command to its end; fails the test, with its output, when it does not succeed.
pub async fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let finished = Process::start(command).finish(2 * super::PATIENCE).await;
    assert!(finished.status.success(), "{shown}: {}\n{}", finished.status, finished.output);
    finished.output
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(successor) = self.successor {
            let _ = Command::new("sh").args(["-c", &format!("kill -KILL {successor}")]).status();
        }
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("---- the end of {}'s output\n{last}\n----", self.name);
        }
    }
}

/// Collects lines from a thread of its own, so that the process never waits for its output to be taken.
fn read_lines(stream: impl Read + Send + 'static, output: Arc<Output>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            {
                let mut lines = output.lines.lock().expect("no holder panics");
                lines.push_back(text);
                if lines.len() > MAX_LINES {
                    lines.pop_front();
                }
            }
            output.progress.send_modify(|(count, _)| *count += 1);
        }
        output.progress.send_modify(|(_, ended)| *ended += 1);
    });
}

#[tokio::test]
async fn process_output_is_captured_and_its_end_awaited() {
    let finished =
        Process::start(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).finish(super::PATIENCE).await;
    assert_eq!(finished.status.code(), Some(3));
    assert!(finished.output.contains("out\n") && finished.output.contains("err\n"));
    let mut sleeper = Process::start(Command::new("sh").args(["-c", "echo ready 7; exec sleep 600"]));
    let number = sleeper.line("its number", |line| line.strip_prefix("ready ")?.parse::<u8>().ok()).await;
    assert_eq!(number, 7);
    sleeper.signal("TERM");
    assert!(!sleeper.finish(super::PATIENCE).await.status.success());
}

/// Whether all threads of a process have been stopped.
fn has_stopped(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process is there");
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // What follows the name, which is in parentheses and may hold some itself.
        stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}
