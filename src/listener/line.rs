//! One connection: how long it may be there without asking for anything, and how long it may leave an
//! answer unread. Which bytes are a request, and the body of one that is read, are others' to judge.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use bytes::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a connection may be between two requests: nothing, half a head, or the rest of a body that
/// was refused. The parser's own limits are shorter, but hold for the first head and for silence only.
const ASKS_WITHIN: Duration = Duration::from_secs(15);
/// How long a client may take to read what waits for it: a whole answer, or 32 KiB of a stream.
const READS_WITHIN: Duration = Duration::from_secs(30);

/// What a connection's stream and its requests both know.
#[derive(Debug)]
pub(super) struct Desk {
    /// Requests that are served now.
    open: Cell<usize>,
    free_since: Cell<Instant>,
}

impl Desk {
    fn enter(self: &Rc<Self>) -> Seat {
        self.open.set(self.open.get() + 1);
        Seat(self.clone())
    }
}

/// One request at the desk, until its answer is made.
#[derive(Debug)]
struct Seat(Rc<Desk>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.free_since.set(Instant::now());
    }
}

/// A stream that ends with [`io::ErrorKind::TimedOut`] when its client lets us wait for too long.
#[derive(Debug)]
pub(super) struct Line<T> {
    io: T,
    desk: Rc<Desk>,
    asks: Duration,
    reads: Duration,
    watch: Pin<Box<Sleep>>,
    /// Runs from when the client stopped reading until all has gone out.
    unread: Option<Pin<Box<Sleep>>>,
}

impl<T> Line<T> {
    pub(super) fn new(io: T) -> Self {
        Self::within(io, ASKS_WITHIN, READS_WITHIN)
    }

    fn within(io: T, asks: Duration, reads: Duration) -> Self {
        let desk = Rc::new(Desk { open: Cell::new(0), free_since: Cell::new(Instant::now()) });
        Self { io, desk, asks, reads, watch: Box::pin(sleep(asks)), unread: None }
    }

    pub(super) fn desk(&self) -> Rc<Desk> {
        self.desk.clone()
    }

    /// Asked at each read, so that the timer is always running.
    fn asks_nothing(&mut self, cx: &mut Context<'_>) -> bool {
        while self.watch.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let since = if self.desk.open.get() == 0 { self.desk.free_since.get() } else { now };
            if since + self.asks <= now {
                return true;
            }
            self.watch.as_mut().reset(since + self.asks);
        }
        false
    }

    /// What a write comes to, given what the stream says of it.
    fn unless_unread<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            return written;
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(self.reads)));
        unread.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Line<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.asks_nothing(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Line<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buffer);
        self.unless_unread(cx, written)
    }

    /// The dispatcher flushes when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() {
            self.unread = None;
        }
        self.unless_unread(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.unless_unread(cx, shut)
    }
}

/// A body that is held, too, by whoever answers. The dispatcher reads chunks that nobody holds for as long
/// as they come; of those that are held when their request is answered it closes the connection.
struct Held(Rc<RefCell<Payload>>);

impl Stream for Held {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}

/// An answer on its way; its request is served until it is made.
pub(super) struct Served {
    body: BoxBody,
    _asked: Option<Rc<RefCell<Payload>>>,
    _seat: Option<Seat>,
}

impl MessageBody for Served {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Lets the connection know of each request that is served on it.
pub(super) async fn attended(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<Served>, Error> {
    let seat = request.conn_data::<Rc<Desk>>().map(Desk::enter);
    let asked = request.chunked().is_ok_and(|chunked| chunked).then(|| {
        let asked = Rc::new(RefCell::new(request.take_payload()));
        request.set_payload(Payload::Stream { payload: Box::pin(Held(asked.clone())) });
        asked
    });
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| Served { body, _asked: asked, _seat: seat }))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    /// As long as tests like to wait for an end …
    const SHORT: Duration = Duration::from_millis(200);
    /// … or to wait for none.
    const LONG: Duration = Duration::from_secs(60);

    fn line(asks: Duration, reads: Duration) -> (Line<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(64);
        (Line::within(server, asks, reads), client)
    }

    /// When it ended.
    async fn end(line: &mut Line<DuplexStream>) -> Instant {
        let mut buffer = [0; 16];
        let ended = async { while line.read(&mut buffer).await.is_ok() {} };
        timeout(LONG, ended).await.expect("it ends");
        Instant::now()
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_ends() {
        let (mut line, _client) = line(SHORT, LONG);
        let begun = Instant::now();
        assert!(end(&mut line).await - begun >= SHORT);
    }

    #[tokio::test]
    async fn bytes_that_come_to_no_request_do_not_keep_it() {
        let (mut line, mut client) = line(SHORT, LONG);
        let drip = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(SHORT / 10).await;
            }
        });
        end(&mut line).await;
        drip.abort();
    }

    #[tokio::test]
    async fn a_request_that_is_served_keeps_it_and_its_end_begins_anew() {
        let (mut line, _client) = line(SHORT, LONG);
        let seat = line.desk().enter();
        let served = async {
            sleep(4 * SHORT).await;
            let answered = Instant::now();
            drop(seat);
            answered
        };
        let (ended, answered) = tokio::join!(end(&mut line), served);
        assert!(ended - answered >= SHORT);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends_it() {
        let (mut line, _client) = line(LONG, SHORT);
        line.write_all(&[0; 64]).await.expect("room");
        let end = timeout(LONG, line.write_all(b"x")).await.expect("it ends");
        assert_eq!(end.expect_err("unread").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_answer_that_was_read_begins_anew() {
        let patience = Duration::from_secs(3);
        let (mut line, mut client) = line(LONG, patience);
        for _ in 0..3 {
            let late = async {
                sleep(patience / 2).await;
                client.read_exact(&mut [0; 65]).await.expect("read");
            };
            let (written, _) = tokio::join!(line.write_all(&[0; 65]), late);
            written.expect("room");
            line.flush().await.expect("all has gone out");
        }
    }
}
