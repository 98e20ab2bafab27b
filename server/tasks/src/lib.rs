//! Tasks that are carried out by one, for those that would only wake each other.
//!
//! A message would pass through three tasks at either end of a connection: on a client from the session's to the one that frames
//! messages, and on to the one that writes to the socket; on a server from the connection's to the one of the call and back. An
//! operation over Redis would pass through two more. Each wakes the next, perhaps on another thread, and for small messages that is
//! most of what they cost. As parts of one task they wake nobody.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::task::{ArcWake, AtomicWaker, waker_ref};
use futures::{FutureExt, StreamExt};
use hyper::rt::Executor;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Task = BoxFuture<'static, ()>;

/// A connection has some tasks by itself. If there are no more, there are no others to wait for.
const FEW: usize = 8;
/// Of the tasks that are begun at once, one in so many makes a turn, but neither few nor too many for others to wait for.
const SHARES: usize = 4;
const TURN_MIN: usize = 4;
const TURN_MAX: usize = 64;
/// So many turns, then it is up to others.
const TURNS_IN_A_ROW: usize = 8;

const MUTED: u8 = 1;
const RUNG: u8 = 2;

/// Tasks that have been begun. Whatever is not done when this is dropped goes on by itself.
#[derive(Debug, Default)]
pub struct Tasks {
    running: FuturesUnordered<Task>,
    inbox: Arc<Inbox>,
}

/// Where they are begun.
#[derive(Clone, Debug)]
pub struct Starter(Arc<Inbox>);

/// What has been begun, and how to wake whoever carries it out.
#[derive(Debug, Default)]
struct Inbox {
    begun: Mutex<Begun>,
    /// By which tasks say that there is something to do: [`MUTED`] while whoever carries them out knows or looks anyhow, and
    /// whether it has [`RUNG`].
    bell: AtomicU8,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Begun {
    tasks: VecDeque<Task>,
    /// Nobody carries them out any more.
    is_closed: bool,
}

impl Tasks {
    /// For those who begin them.
    pub fn starter(&self) -> Starter {
        Starter(self.inbox.clone())
    }

    /// Carries them out, for as long as this is awaited. If there are more than a connection's own, other tasks go first each time
    /// this is woken, so that what they have to say goes out as one. Safe to drop and call again.
    ///
    /// `is_busy`: others go first after each single turn, and the runtime wakes another thread to help them, which pays only if
    /// there are many.
    pub async fn run_after_others(&mut self, is_busy: bool) -> Infallible {
        let turns = if is_busy { 1 } else { TURNS_IN_A_ROW };
        loop {
            self.until_woken(turns).await;
            if self.running.len() > FEW {
                self.inbox.mute();
                tokio::task::yield_now().await;
            }
        }
    }

    /// Carries out what can be carried out now, and returns when there is more.
    async fn until_woken(&mut self, turns: usize) {
        let mut is_woken = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_woken, true) {
                return Poll::Ready(());
            }
            self.poll(context, turns).map(|never| match never {})
        })
        .await;
    }

    /// Carries them out until this one is over, which begins the others. A panic of this one is one of whoever awaits this, so `None`
    /// never comes.
    pub async fn run_until<T: Send + 'static>(mut self, first: BoxFuture<'static, T>) -> Option<T> {
        let (end, ended) = oneshot::channel();
        // Nobody waits for it only if this is dropped.
        self.running.push(first.map(|outcome| _ = end.send(outcome)).boxed());
        tokio::select! {
            biased;
            never = poll_fn(|context| self.poll(context, TURNS_IN_A_ROW)) => match never {},
            ended = ended => ended.ok(),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, turns: usize) -> Poll<Infallible> {
        let inbox = self.inbox.clone();
        inbox.waker.register(context.waker());
        let waker = waker_ref(&inbox);
        let mut within = Context::from_waker(&waker);
        for _ in 0..turns {
            inbox.mute();
            // What the first of them say is on its way while the others are carried out.
            inbox.take_turn(|task| self.running.push(task));
            while self.running.poll_next_unpin(&mut within) == Poll::Ready(Some(())) {}
            if !inbox.has_rung() && inbox.is_empty() {
                break;
            }
        }
        // Whoever is left over lets others than these have their turn first.
        if inbox.listen() || !inbox.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("tasks", &self.tasks.len()).field("is_closed", &self.is_closed).finish()
    }
}

impl Inbox {
    /// From now on, until [`Inbox::listen`], somebody looks anyhow.
    fn mute(&self) {
        // Not a store: what was left before a ring that this wipes out must be seen.
        self.bell.swap(MUTED, Ordering::AcqRel);
    }

    /// Whether somebody rang since [`Inbox::mute`].
    fn has_rung(&self) -> bool {
        self.bell.load(Ordering::Acquire) & RUNG != 0
    }

    /// From now on whoever rings is heard. Returns whether somebody did before.
    fn listen(&self) -> bool {
        self.bell.swap(0, Ordering::AcqRel) & RUNG != 0
    }

    fn take_turn(&self, carry_out: impl FnMut(Task)) {
        let mut begun = self.begun();
        let turn = (begun.tasks.len() / SHARES).clamp(TURN_MIN, TURN_MAX).min(begun.tasks.len());
        begun.tasks.drain(..turn).for_each(carry_out);
    }

    fn is_empty(&self) -> bool {
        self.begun().tasks.is_empty()
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArcWake for Inbox {
    fn wake_by_ref(inbox: &Arc<Self>) {
        // What is to be seen to was left where it is found before this.
        if inbox.bell.fetch_or(RUNG, Ordering::AcqRel) & MUTED == 0 {
            inbox.waker.wake();
        }
    }
}

impl Starter {
    /// Begins one.
    pub fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        // One that panics must not take the others with it. What it leaves behind is what it leaves behind when it is dropped.
        let task = AssertUnwindSafe(task).catch_unwind().map(drop).boxed();
        let mut begun = self.0.begun();
        if begun.is_closed {
            // Whoever carried them out is gone, but what they are for may still be in use.
            drop(begun);
            tokio::spawn(task);
            return;
        }
        begun.tasks.push_back(task);
        drop(begun);
        ArcWake::wake_by_ref(&self.0);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Starter {
    fn execute(&self, task: F) {
        self.start(task);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let begun = {
            let mut begun = self.inbox.begun();
            begun.is_closed = true;
            std::mem::take(&mut begun.tasks)
        };
        let Ok(runtime) = Handle::try_current() else { return };
        for task in std::mem::take(&mut self.running).into_iter().chain(begun) {
            runtime.spawn(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    /// What a call says, if it waits for its turn.
    fn say(said: &Arc<AtomicUsize>) -> impl Future<Output = ()> + use<> {
        let said = said.clone();
        async move { _ = said.fetch_add(1, Ordering::Relaxed) }
    }

    #[tokio::test]
    async fn what_is_begun_by_a_task_is_carried_out_with_it() {
        let tasks = Tasks::default();
        let (starter, said) = (tasks.starter(), Arc::<AtomicUsize>::default());
        let first = {
            let said = said.clone();
            async move {
                (0..100).for_each(|_| starter.start(say(&said)));
                while said.load(Ordering::Relaxed) < 100 {
                    tokio::task::yield_now().await;
                }
                "over"
            }
        };
        assert_eq!(tasks.run_until(first.boxed()).await, Some("over"));
    }

    #[tokio::test]
    async fn what_is_not_done_goes_on_when_nobody_carries_it_out() {
        let mut tasks = Tasks::default();
        let (starter, said) = (tasks.starter(), Arc::<AtomicUsize>::default());
        let (open, opened) = tokio::sync::watch::channel(false);
        let waits = |said: &Arc<AtomicUsize>| {
            let (mut opened, say) = (opened.clone(), say(said));
            async move {
                _ = opened.wait_for(|is_open| *is_open).await;
                say.await;
            }
        };
        starter.start(waits(&said));
        assert!(futures::poll!(Box::pin(tasks.run_after_others(false))).is_pending());
        starter.start(waits(&said));
        drop(tasks);
        starter.start(waits(&said));
        open.send_replace(true);
        while said.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_with_it() {
        let tasks = Tasks::default();
        let (starter, said) = (tasks.starter(), Arc::<AtomicUsize>::default());
        starter.start(async { panic!("a defect") });
        starter.start(say(&said));
        let first = {
            let said = said.clone();
            async move {
                while said.load(Ordering::Relaxed) < 1 {
                    tokio::task::yield_now().await;
                }
            }
        };
        assert_eq!(tasks.run_until(first.boxed()).await, Some(()));
    }

    /// It has more to do than there are turns in a row, and nobody else will ring for it.
    #[tokio::test]
    async fn one_that_wakes_itself_goes_on_after_the_last_turn() {
        let mut left = 100 * TURNS_IN_A_ROW;
        let first = poll_fn(move |context| {
            left -= 1;
            context.waker().wake_by_ref();
            if left == 0 { Poll::Ready("over") } else { Poll::Pending }
        });
        let over = tokio::time::timeout(Duration::from_secs(10), Tasks::default().run_until(first.boxed())).await;
        assert_eq!(over, Ok(Some("over")));
    }

    /// A wake that comes while others go first is not lost, from whichever thread.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wake_is_lost_in_the_silence() {
        let mut tasks = Tasks::default();
        let starter = tasks.starter();
        let carried_out = tokio::spawn(async move { tasks.run_after_others(true).await });
        // So many at a time that it is silent in between.
        let callers = (0..4 * FEW).map(|_| {
            let starter = starter.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    let (answer, answered) = oneshot::channel();
                    let (ask, asked) = oneshot::channel();
                    starter.start(async move {
                        _ = asked.await;
                        _ = answer.send(());
                    });
                    ask.send(()).unwrap();
                    answered.await.unwrap();
                }
            })
        });
        futures::future::try_join_all(callers.collect::<Vec<_>>()).await.unwrap();
        carried_out.abort();
    }
}
