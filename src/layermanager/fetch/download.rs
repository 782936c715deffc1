//! The task that brings the bytes: attempts, one after the other, each going on
//! where the last one ended.
//!
//! It writes nothing: the reader does, so that what the install sees and what is
//! on disk are the same bytes in the same order. It ends when the reader is gone.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::address::Address;
use super::answer::{Asked, Body, Validators, Verdict, judge};
use super::error::{AttemptError, FetchError};
use super::exchange::{Answer, Client, Failed, Part};
use super::limits::REDIRECTS;
use super::retry::{Next, Retry};
use crate::layermanager::source::shown_url;
use crate::model::Chain;

/// What the reader gets.
#[derive(Debug)]
pub(super) enum Message {
    /// First of all: bytes follow, from this one on.
    Begin { offset: u64, validators: Validators },
    /// The next bytes.
    Piece(Bytes),
    /// The next bytes are of another answer than those before.
    Resumed,
    /// All bytes have come.
    End,
    /// No more will come.
    Failed(FetchError),
}

/// Brings one package.
#[derive(Debug)]
pub(super) struct Downloader {
    pub(super) client: Client,
    pub(super) address: Address,
    pub(super) item: String,
    pub(super) size: u64,
    /// The first byte that is not there.
    pub(super) offset: u64,
    /// Of the bytes that are there.
    pub(super) validators: Validators,
    pub(super) reader: mpsc::Sender<Message>,
    /// Closed when the service manager stops.
    pub(super) alive: watch::Receiver<()>,
    /// Closed when the caller no longer waits.
    pub(super) caller: watch::Receiver<()>,
    pub(super) begun: bool,
}

/// Why an attempt ended before the last byte.
enum Setback {
    Passing(AttemptError, Option<Duration>),
    Lasting(FetchError),
    StartOver(&'static str),
    /// The reader is gone.
    Unread,
}

impl From<Failed> for Setback {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Passing(error) => Self::Passing(error, None),
            Failed::Lasting(error) => Self::Lasting(error),
        }
    }
}

impl Downloader {
    /// Downloads until all bytes have come, none will, or nobody reads them.
    pub(super) async fn run(mut self) {
        let reader = self.reader.clone();
        let mut alive = self.alive.clone();
        let last = tokio::select! {
            biased;
            () = reader.closed() => return,
            () = closed(&mut alive) => Message::Failed(FetchError::Stopped),
            outcome = self.download() => match outcome {
                Ok(()) => Message::End,
                Err(Setback::Lasting(error)) => Message::Failed(error),
                Err(_) => return,
            },
        };
        if reader.send(last).await.is_err() {
            tracing::debug!(item = self.item, "nobody reads the end of the download");
        }
    }

    async fn download(&mut self) -> Result<(), Setback> {
        let mut retry = Retry::new(self.client.patience, Instant::now());
        loop {
            match self.attempt(&mut retry).await {
                Err(Setback::StartOver(reason)) => self.start_over(reason)?,
                Err(Setback::Passing(error, after)) => {
                    let next = retry.failed(Instant::now(), after, fastrand::f64());
                    self.wait(next, error).await?;
                }
                ended => return ended,
            }
        }
    }

    /// Only a request for a part can end here, and the next one is for all.
    fn start_over(&mut self, reason: &'static str) -> Result<(), Setback> {
        if self.begun {
            return Err(Setback::Lasting(FetchError::Restarted(reason)));
        }
        info!(item = self.item, reason, "downloading from the first byte");
        self.offset = 0;
        self.validators = Validators::default();
        Ok(())
    }

    async fn wait(&mut self, next: Next, error: AttemptError) -> Result<(), Setback> {
        match next {
            Next::GiveUp { attempts, time } => Err(Setback::Lasting(FetchError::GaveUp {
                attempts,
                time,
                source: error,
            })),
            Next::Wait(delay) => {
                warn!(item = self.item, error = %Chain(&error), ?delay, "download is tried again");
                let mut caller = self.caller.clone();
                wanted(&mut caller, sleep(delay)).await
            }
        }
    }

    async fn attempt(&mut self, retry: &mut Retry) -> Result<(), Setback> {
        let mut caller = self.caller.clone();
        // Nothing comes yet: if nobody waits, nothing needs to.
        let (answer, verdict) = wanted(&mut caller, self.ask()).await??;
        let body = match verdict {
            Verdict::Body(body) => body,
            Verdict::Whole(_) if self.begun => {
                return Err(Setback::StartOver("the server sends the whole file again"));
            }
            Verdict::Whole(body) => {
                self.start_over("the server sends the whole file")?;
                body
            }
            Verdict::StartOver(reason) => return Err(Setback::StartOver(reason)),
            Verdict::Later(status, after) => {
                return Err(Setback::Passing(AttemptError::Busy(status), after));
            }
            Verdict::Refused(error) => return Err(Setback::Lasting(error)),
            Verdict::Redirect(_) => return Err(Setback::Lasting(FetchError::Redirects)),
        };

        self.begin(&body).await?;
        self.take(answer, body.framed, retry).await
    }

    /// Follows redirects to an answer that is none. Credentials and the address
    /// that CM gave are what the next attempt begins with again.
    async fn ask(&self) -> Result<(Answer, Verdict), Setback> {
        let if_range = self.validators.if_range();
        let mut address = self.address.clone();
        for _ in 0..=REDIRECTS {
            let part = Part {
                offset: self.offset,
                if_range: if_range.as_ref(),
            };
            let answer = self.client.ask(&address, part).await?;
            let asked = Asked {
                offset: self.offset,
                size: self.size,
                validators: &self.validators,
            };
            let (status, headers) = (answer.head.status, &answer.head.headers);
            match judge(asked, status, headers, SystemTime::now()) {
                Verdict::Redirect(location) => address = redirected(&address, &location)?,
                verdict => return Ok((answer, verdict)),
            }
        }
        Err(Setback::Lasting(FetchError::Redirects))
    }

    async fn begin(&mut self, body: &Body) -> Result<(), Setback> {
        if self.begun {
            return self.hand_on(Message::Resumed).await;
        }
        self.begun = true;
        self.validators = body.validators.clone();
        self.hand_on(Message::Begin {
            offset: self.offset,
            validators: self.validators.clone(),
        })
        .await
    }

    async fn take(
        &mut self,
        mut answer: Answer,
        framed: bool,
        retry: &mut Retry,
    ) -> Result<(), Setback> {
        let stall = self.client.patience.stall;
        loop {
            match answer.piece(stall, self.offset).await {
                Ok(Some(bytes)) => {
                    let count = bytes.len() as u64;
                    if count > self.size - self.offset {
                        return Err(Setback::Lasting(FetchError::TooLong {
                            expected: self.size,
                        }));
                    }
                    self.hand_on(Message::Piece(bytes)).await?;
                    self.offset += count;
                    // However long the reader took.
                    retry.progressed(Instant::now());
                }
                // However the connection ends: all that was wanted is there.
                _ if self.offset == self.size => return Ok(()),
                Ok(None) if framed => {
                    return Err(Setback::Lasting(FetchError::Size {
                        actual: self.offset,
                        expected: self.size,
                    }));
                }
                Ok(None) => {
                    let ended = AttemptError::Ended { at: self.offset };
                    return Err(Setback::Passing(ended, None));
                }
                Err(error) => return Err(Setback::Passing(error, None)),
            }
        }
    }

    async fn hand_on(&self, message: Message) -> Result<(), Setback> {
        self.reader.send(message).await.map_err(|_| Setback::Unread)
    }
}

fn redirected(from: &Address, location: &str) -> Result<Address, Setback> {
    let to = from.resolve(location).map_err(|source| {
        Setback::Lasting(FetchError::Redirect {
            location: shown_url(location),
            source,
        })
    })?;
    if from.is_secure() != to.is_secure() {
        return Err(Setback::Lasting(FetchError::RedirectScheme {
            from: from.scheme(),
            to: to.scheme(),
        }));
    }
    tracing::debug!(%from, %to, "redirected");
    Ok(to)
}

/// Waits as long as the caller does.
async fn wanted<T>(
    caller: &mut watch::Receiver<()>,
    wait: impl Future<Output = T>,
) -> Result<T, Setback> {
    tokio::select! {
        biased;
        () = closed(caller) => Err(Setback::Lasting(FetchError::Abandoned)),
        done = wait => Ok(done),
    }
}

/// Waits until nobody holds the other end.
pub(in crate::layermanager) async fn closed(end: &mut watch::Receiver<()>) {
    while end.changed().await.is_ok() {}
}
