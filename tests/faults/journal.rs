//! Where all lines of a run come together: in a file as they come, and in memory for the checker.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::history::{Event, Line};

/// How often the runner looks whether the machine runs, and how late it may be.
const PULSE: Duration = Duration::from_millis(50);
const STALL: Duration = Duration::from_millis(300);

/// Takes lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    lines: mpsc::UnboundedSender<Line>,
}

/// What was taken.
#[derive(Debug)]
pub(crate) struct Record {
    lines: JoinHandle<io::Result<Vec<Line>>>,
}

impl Journal {
    /// Begins a journal, which is also written to a file.
    pub(crate) fn begin(path: &Path) -> io::Result<(Self, Record)> {
        let mut file = BufWriter::new(File::create(path)?);
        let (sender, mut inbox) = mpsc::unbounded_channel::<Line>();
        let lines = tokio::spawn(async move {
            let mut lines = Vec::new();
            while let Some(line) = inbox.recv().await {
                serde_json::to_writer(&mut file, &line)?;
                file.write_all(b"\n")?;
                // Nothing else waits, so there is time to see it through.
                if inbox.is_empty() {
                    file.flush()?;
                }
                lines.push(line);
            }
            Ok(lines)
        });
        Ok((Self { lines: sender }, Record { lines }))
    }

    /// Notes what happens now.
    pub(crate) fn note(&self, event: Event) {
        self.take(Line::now(event));
    }

    /// Notes what a process has noted. After a failed write nobody listens any more, and the run's end says so.
    pub(crate) fn take(&self, line: Line) {
        _ = self.lines.send(line);
    }

    /// Notes whenever the machine stands still.
    pub(crate) async fn watch_the_machine(self) {
        loop {
            let before = lockstead_client::now();
            tokio::time::sleep(PULSE).await;
            let late = lockstead_client::now().since(before).saturating_sub(PULSE);
            if late > STALL {
                self.note(Event::Stalled { for_ms: u64::try_from(late.as_millis()).unwrap_or(u64::MAX) });
            }
        }
    }
}

impl Record {
    /// All lines, once the last journal is dropped.
    pub(crate) async fn lines(self) -> io::Result<Vec<Line>> {
        self.lines.await?
    }
}

/// Reads a history that was kept. Its last line may be cut off.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}
