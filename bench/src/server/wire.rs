//! As much HTTP/1.1 as the measurements need, written by hand: whoever makes the load shares the machine with what is
//! measured, so it has to cost little.

use anyhow::{Context as _, bail, ensure};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection, kept alive, one request after the other.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: TcpStream,
    host: String,
    token: String,
    /// What was read and not yet used.
    pending: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body, when the status says that all is well.
    pub(crate) fn good(self) -> anyhow::Result<Vec<u8>> {
        ensure!((200..300).contains(&self.status), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        Ok(self.body)
    }
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// How many bytes it takes itself.
    bytes: usize,
    status: u16,
    /// None: the body comes in chunks.
    length: Option<usize>,
}

/// The head at the beginning of these bytes, once it is there as a whole.
fn head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).context("a head that is no text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("no status line")?;
    let value = |line: &str, name: &str| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    let chunked = text.split("\r\n").any(|line| value(line, "transfer-encoding").is_some());
    let length = lines.find_map(|line| value(line, "content-length")).and_then(|length| length.parse().ok());
    let length = if chunked { None } else { Some(length.unwrap_or(0)) };
    Ok(Some(Head { bytes: end + 4, status, length }))
}

/// Takes the first whole chunk off these bytes; empty is the last one. None: more has to come.
fn take_chunk(bytes: &mut Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let size = std::str::from_utf8(&bytes[..line]).ok().and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
    let size = size.context("a chunk without its size")?;
    let end = line + 2 + size;
    if bytes.len() < end + 2 {
        return Ok(None);
    }
    let chunk = bytes[line + 2..end].to_vec();
    bytes.drain(..end + 2);
    Ok(Some(chunk))
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr, token: &str) -> anyhow::Result<Wire> {
        let socket = TcpStream::connect(address).await.context("no connection")?;
        socket.set_nodelay(true)?;
        Ok(Wire { socket, host: address.to_string(), token: token.to_owned(), pending: Vec::new() })
    }

    async fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<()> {
        let Wire { host, token, .. } = self;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        Ok(self.socket.write_all(&request).await?)
    }

    /// Cancel safe: what was read is kept.
    async fn more(&mut self) -> anyhow::Result<()> {
        if self.socket.read_buf(&mut self.pending).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        loop {
            if let Some(head) = head(&self.pending)? {
                self.pending.drain(..head.bytes);
                return Ok(head);
            }
            self.more().await?;
        }
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.ask(method, path, body).await?;
        let head = self.head().await?;
        let length = head.length.context("an answer in chunks")?;
        while self.pending.len() < length {
            self.more().await?;
        }
        let rest = self.pending.split_off(length);
        Ok(Answer { status: head.status, body: std::mem::replace(&mut self.pending, rest) })
    }

    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.request("POST", path, body).await
    }

    /// Begins a stream of server-sent events; the connection is the stream's from here on.
    pub(crate) async fn stream(mut self, path: &str) -> anyhow::Result<Events> {
        self.ask("GET", path, b"").await?;
        let head = self.head().await?;
        ensure!(head.status == 200 && head.length.is_none(), "no stream at {path}: {}", head.status);
        Ok(Events { wire: self, text: Vec::new() })
    }
}

/// Server-sent events.
#[derive(Debug)]
pub(crate) struct Events {
    wire: Wire,
    text: Vec<u8>,
}

impl Events {
    /// The data of the next event; comments are skipped. Cancel safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                let event = String::from_utf8(event).context("an event that is no text")?;
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    return Ok(data.to_owned());
                }
            }
            match take_chunk(&mut self.wire.pending)? {
                Some(chunk) if chunk.is_empty() => bail!("the stream ended"),
                Some(chunk) => self.text.extend_from_slice(&chunk),
                None => self.wire.more().await?,
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(), None);
        let bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\n\r\nrest";
        assert_eq!(head(bytes).unwrap(), Some(Head { bytes: 44, status: 201, length: Some(12) }));
        let streamed = head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap().unwrap();
        assert_eq!(streamed.length, None);
        assert!(head(b"nothing\r\n\r\n").is_err());
    }

    #[test]
    fn chunks_are_taken_whole_wherever_the_bytes_were_cut() {
        let whole = b"5\r\nab\r\nc\r\n0\r\n\r\n";
        for cut in 0..whole.len() {
            let mut bytes = whole[..cut].to_vec();
            let mut taken = Vec::new();
            while let Some(chunk) = take_chunk(&mut bytes).unwrap() {
                taken.push(chunk);
            }
            bytes.extend_from_slice(&whole[cut..]);
            while let Some(chunk) = take_chunk(&mut bytes).unwrap() {
                taken.push(chunk);
            }
            assert_eq!(taken, [b"ab\r\nc".to_vec(), Vec::new()], "cut at {cut}");
        }
    }
}
