//! One kept-alive connection to the daemon: writes a request that is ready, reads its answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// The daemon closes what is idle for longer than a few seconds; a request that meets the close is lost.
const FRESH: Duration = Duration::from_secs(1);
const HEADERS: usize = 32;

/// A connection, made when it is needed.
pub(super) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    used_at: Instant,
    buffer: Vec<u8>,
}

/// An answer; its body lies in the connection's buffer until the next request.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) retry_after: bool,
    pub(super) body: &'a [u8],
}

impl Connection {
    pub(super) fn to(address: SocketAddr) -> Self {
        Self { address, stream: None, used_at: Instant::now(), buffer: Vec::with_capacity(8192) }
    }

    /// Has the next request find a connection that is open.
    pub(super) async fn freshen(&mut self) -> std::io::Result<()> {
        if self.stream.is_none() || self.used_at.elapsed() > FRESH {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
            self.used_at = Instant::now();
        }
        Ok(())
    }

    /// Sends one request and waits for its answer. After an error the next one goes over a new connection.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Answer<'_>> {
        self.freshen().await?;
        let Some(mut stream) = self.stream.take() else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        let exchange = async {
            stream.write_all(request).await?;
            read(&mut stream, &mut self.buffer).await
        };
        let (status, retry_after, start) = tokio::time::timeout(ANSWERS_WITHIN, exchange).await??;
        self.stream = Some(stream);
        self.used_at = Instant::now();
        Ok(Answer { status, retry_after, body: &self.buffer[start..] })
    }
}

/// Reads one answer; answers its status, whether it says when to come back, and where its body begins.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<(u16, bool, usize)> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer.parse(buffer).map_err(std::io::Error::other)?;
        let httparse::Status::Complete(start) = parsed else { continue };
        let header = |name: &str| {
            answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))
        };
        let length = header("content-length")
            .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
            .ok_or_else(|| std::io::Error::other("expected a content-length"))?;
        let (status, retry_after) =
            (answer.code.unwrap_or_default(), header("retry-after").is_some());
        let missing = (start + length).saturating_sub(buffer.len());
        let had = buffer.len();
        buffer.resize(had + missing, 0);
        stream.read_exact(&mut buffer[had..]).await?;
        return Ok((status, retry_after, start));
    }
}
