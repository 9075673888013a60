//! The real binary as a process of its own, and callers of its API.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hookseal::demo::receiver::Receiver;
use serde_json::{Value, json};

use super::leavings;

/// The platform key that tests configure.
pub const PLATFORM_KEY: &str = "platform-key-of-the-tests";
/// How long a start may take before the test gives up.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Where a daemon keeps its data and logs, across restarts.
pub struct Home {
    directory: tempfile::TempDir,
    settings: Vec<(String, String)>,
    /// Name and address of a host of its own.
    namespace: Option<(String, String)>,
}

impl Home {
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let (directory, settings) = (leavings::directory("home-"), settings.collect());
        Self { directory, settings, namespace: None }
    }

    /// The same on a host of its own.
    pub fn within(self, name: &str, address: &str) -> Self {
        Self { namespace: Some((name.to_owned(), address.to_owned())), ..self }
    }

    /// The same with one more setting, made of its directory.
    pub fn and(mut self, name: &str, value: impl FnOnce(&Path) -> String) -> Self {
        self.settings.push((name.to_owned(), value(self.path())));
        self
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The binary with this home's settings and nothing of the caller's environment.
    pub fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_hookseal");
        let (mut command, address) = match &self.namespace {
            None => (Command::new(program), "127.0.0.1"),
            Some((name, address)) => {
                let mut command = Command::new("/usr/sbin/ip");
                command.args(["netns", "exec", name, program]);
                (command, address.as_str())
            }
        };
        command
            .env_clear()
            .env("HOOKSEAL_LISTEN", format!("{address}:0"))
            .env("HOOKSEAL_DATA_DIR", self.data_dir())
            .env("HOOKSEAL_DEV", "1")
            .env("HOOKSEAL_REQUESTS_PER_MINUTE", "1000000")
            .current_dir(self.path());
        for (name, value) in &self.settings {
            command.env(name, value);
        }
        command
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(&self) -> Daemon {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("stderr.log"))
            .unwrap();
        let mut child = self
            .command()
            .env("HOOKSEAL_PLATFORM_KEY", PLATFORM_KEY)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (told, listening) = mpsc::channel();
        let home = self.path().to_owned();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Its home may be gone before it is.
                let _ = leavings::append(&home, "stdout.log", &line);
                if let Some(url) = line.strip_prefix("listening on ") {
                    let _ = told.send(url.to_owned());
                }
            }
        });
        let Ok(url) = listening.recv_timeout(STARTS_WITHIN) else {
            let _ = child.kill();
            let log = std::fs::read_to_string(self.path().join("stderr.log")).unwrap();
            panic!("the daemon did not start: {log}");
        };
        Daemon { child, url }
    }
}

/// How a command ended that is expected to end by itself; killed when it does not.
pub struct Ended {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

pub fn ended(command: &mut Command) -> Ended {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let drain = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            pipe.unwrap().read_to_string(&mut text).unwrap();
            text.trim().to_owned()
        })
    };
    let stdout = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + Duration::from_secs(60);
    let success = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.success();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Ended { success, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    pub url: String,
}

impl Daemon {
    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success()
        );
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How it ended, once it has.
    pub fn terminate_status(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn platform(&self) -> Caller {
        Caller::new(&self.url, PLATFORM_KEY)
    }

    /// A new organization and its key with read and write scope.
    pub fn tenant(&self) -> Tenant {
        let platform = self.platform();
        let made = platform.post("/v1/platform/organizations", json!({ "name": "Acme" })).ok();
        let organization = made["id"].as_str().unwrap().to_owned();
        let caller = self.key(&organization, &["webhooks:read", "webhooks:write"]);
        Tenant { organization, caller, platform }
    }

    pub fn key(&self, organization: &str, permissions: &[&str]) -> Caller {
        let path = format!("/v1/platform/organizations/{organization}/api-keys");
        let body = json!({ "name": "tests", "permissions": permissions });
        let made = self.platform().post(&path, body).ok();
        Caller::new(&self.url, made["key"].as_str().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody with a key.
#[derive(Clone)]
pub struct Caller {
    agent: ureq::Agent,
    pub base: String,
    pub key: String,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// `data` of a success.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()["data"].take()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// `error.code` of a failure.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Caller {
    pub fn new(base: &str, key: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            // The daemon closes what is idle for longer; a request on its way then would be lost.
            .max_idle_age(Duration::from_secs(2))
            .build()
            .new_agent();
        Self { agent, base: base.to_owned(), key: key.to_owned() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string())
    }

    pub fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, &[("content-type", "application/json")], &body.to_string())
    }

    /// Sends whatever is wanted; the key goes along unless it is empty.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_send(method, path, headers, body).expect("the daemon answers")
    }

    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, ureq::Error> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(body.to_owned()).unwrap())?;
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
        let answer = Answer {
            status: response.status().as_u16(),
            headers: headers.collect(),
            text: response.body_mut().read_to_string()?,
        };
        leavings::must_not_hold(&answer.text);
        super::openapi::must_describe(method, path, &answer);
        Ok(answer)
    }
}

/// An organization, its key, and the platform that publishes for it.
#[derive(Clone)]
pub struct Tenant {
    pub organization: String,
    pub caller: Caller,
    pub platform: Caller,
}

impl Tenant {
    /// Registers `receiver` with its key and trusts its secret; answers the endpoint's id.
    pub fn register(&self, receiver: &Receiver, settings: Value) -> String {
        let id = self.register_without_key(receiver, settings);
        let key = json!({
            "key_id": "k1", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
            "jwk": receiver.public_jwk,
        });
        self.caller.post(&format!("/v1/webhooks/endpoints/{id}/keys"), key).ok();
        id
    }

    pub fn register_without_key(&self, receiver: &Receiver, mut settings: Value) -> String {
        settings["url"] = receiver.url.clone().into();
        let made = self.caller.post("/v1/webhooks/endpoints", settings).ok();
        receiver.trust(made["signing_secret"].as_str().unwrap());
        made["endpoint"]["id"].as_str().unwrap().to_owned()
    }

    /// Registers `url` with `public_jwk` to seal to; answers the endpoint's id.
    pub fn register_url(&self, url: &str, public_jwk: &Value) -> String {
        let made = self.caller.post("/v1/webhooks/endpoints", json!({ "url": url })).ok();
        let id = made["endpoint"]["id"].as_str().unwrap().to_owned();
        let key = json!({
            "key_id": "k1", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": public_jwk,
        });
        self.caller.post(&format!("/v1/webhooks/endpoints/{id}/keys"), key).ok();
        id
    }

    /// What each attempt to an endpoint came to, the first one first: a status or the kind of fault, and
    /// how long it took.
    pub fn attempts(&self, endpoint: &str) -> Vec<(String, Duration)> {
        let mut attempts = Vec::new();
        let mut deliveries = self.deliveries(&format!("&endpoint_id={endpoint}"));
        deliveries.reverse();
        for delivery in deliveries {
            let id = delivery["id"].as_str().unwrap();
            let path = format!("/v1/webhooks/deliveries/{id}/attempts");
            for attempt in self.caller.get(&path).ok().as_array().unwrap() {
                let came_to = match &attempt["error_kind"] {
                    Value::String(kind) => kind.clone(),
                    _ => attempt["status_code"].to_string(),
                };
                let took = Duration::from_millis(attempt["duration_ms"].as_u64().unwrap());
                attempts.push((came_to, took));
            }
        }
        attempts
    }

    /// The body of a publish; a canary goes along with `data`.
    pub fn event(&self, session: &str, mut data: Value) -> Value {
        data["canary"] = leavings::CANARY.into();
        json!({
            "organization_id": self.organization,
            "type": "verification.session.succeeded",
            "trigger_type": "verification_session",
            "trigger_id": session,
            "data": data,
        })
    }

    pub fn publish(&self, session: &str, data: Value) -> Value {
        self.platform.post("/v1/platform/events", self.event(session, data)).ok()
    }

    pub fn deliveries(&self, query: &str) -> Vec<Value> {
        self.all("deliveries", query)
    }

    pub fn events(&self) -> Vec<Value> {
        self.all("events", "")
    }

    /// Every page of a list.
    fn all(&self, list: &str, query: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/webhooks/{list}?limit=100{query}{cursor}");
            let mut answer = self.caller.get(&path).json();
            items.append(answer["data"].as_array_mut().unwrap());
            match answer["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&starting_after={next}"),
                None => return items,
            }
        }
    }

    /// Waits until nothing is pending or delivering.
    pub fn settle(&self, within: Duration) {
        wait(within, "deliveries to settle", || {
            let open = |status| {
                let path = format!("/v1/webhooks/deliveries?limit=1&status={status}");
                self.caller.get(&path).json()["data"]
                    .as_array()
                    .is_none_or(|items| !items.is_empty())
            };
            let ended = |delivery: &Value| {
                delivery["status"] == "succeeded" || delivery["status"] == "failed"
            };
            // One that moves between the two may be missed by both questions, so that each is
            // looked at in the end.
            !open("pending") && !open("delivering") && self.deliveries("").iter().all(ended)
        });
    }
}

/// Asks again and again until it is so.
pub fn wait(within: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !so() {
        assert!(Instant::now() < deadline, "waited {within:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
