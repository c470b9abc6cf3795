//! Prints what comes bit by bit, on a thread that may be kept waiting: whoever reads our output may stand still.

use std::pin::pin;

use aigis_proxy::Error;
use tokio::{sync::mpsc, task::JoinHandle};

use super::Output;
use crate::exit::Failure;

/// How much may wait to be printed.
const WAITING: usize = 16;

type Job = Box<dyn FnOnce(&Output) -> Result<(), Failure> + Send>;

/// What gives the thread its work.
#[derive(Debug, Clone)]
pub(crate) struct Pen(mpsc::Sender<Job>);

impl Pen {
    /// Has something printed after all that was given before; waits as long as too much is ahead of it.
    ///
    /// # Errors
    ///
    /// [`Failure::Closed`] once nothing is printed any more; why is what [`Printer::until`] says.
    pub(crate) async fn put(
        &self,
        job: impl FnOnce(&Output) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        self.0.send(Box::new(job)).await.map_err(|_| Failure::Closed)
    }
}

/// The thread that prints.
#[derive(Debug)]
pub(crate) struct Printer {
    output: Output,
    pen: Pen,
    printing: JoinHandle<Result<(), Failure>>,
}

impl Printer {
    /// Starts it.
    pub(crate) fn start(output: &Output) -> Self {
        let output = *output;
        let (give, mut take) = mpsc::channel::<Job>(WAITING);
        let printing = tokio::task::spawn_blocking(move || {
            while let Some(job) = take.blocking_recv() {
                job(&output)?;
            }
            Ok(())
        });
        Self { output, pen: Pen(give), printing }
    }

    /// What is to be printed goes through this.
    pub(crate) fn pen(&self) -> Pen {
        self.pen.clone()
    }

    /// Runs what gives the work until its end, and prints all of it. With `attended` it ends as soon as nobody can read
    /// any more, even if there is nothing to print.
    ///
    /// # Errors
    ///
    /// What keeps from printing, else the error of what gives the work.
    pub(crate) async fn until<T>(
        self,
        attended: bool,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Self { output, pen, printing } = self;
        // Dropped with this block, and the pens in it with it, so that the thread comes to its end.
        let worked = {
            let work = pin!(work);
            tokio::select! {
                worked = work => worked,
                // The printing has failed, and says why.
                () = pen.0.closed() => Err(Failure::Closed),
                () = output.closed(), if attended => return Err(Failure::Closed),
            }
        };
        drop(pen);
        printing.await.map_err(|error| Error::internal(format!("the output ended: {error}")))??;
        worked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Color;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as blocking,
    };

    fn printer() -> Printer {
        Printer::start(&Output::new(false, false, false, Color::Never))
    }

    #[tokio::test]
    async fn all_that_was_given_is_printed_before_the_end() {
        let printer = printer();
        let (pen, printed) = (printer.pen(), Arc::new(AtomicUsize::new(0)));
        let count = printed.clone();
        let work = async move {
            for _ in 0..100 {
                let count = count.clone();
                pen.put(move |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
                .await?;
            }
            Ok(7)
        };
        assert_eq!(printer.until(false, work).await.unwrap(), 7);
        assert_eq!(printed.load(Ordering::Relaxed), 100);
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_keeps_nothing_else_from_running() {
        let printer = printer();
        let pen = printer.pen();
        let (go, wait) = blocking::channel::<()>();
        // The runtime has one thread: were it blocked, nobody would let the printing go on.
        let work = async move {
            pen.put(move |_| wait.recv().map_err(|_| Failure::Said(9))).await?;
            tokio::task::yield_now().await;
            go.send(()).map_err(|_| Failure::Said(8))
        };
        printer.until(false, work).await.unwrap();
    }

    #[tokio::test]
    async fn printing_that_fails_ends_what_gives_the_work() {
        let printer = printer();
        let pen = printer.pen();
        let work = async move {
            pen.put(|_| Err(Failure::Said(3))).await?;
            std::future::pending::<Result<(), Failure>>().await
        };
        assert_eq!(printer.until(false, work).await.unwrap_err().code(), 3);
    }
}
