//! `#[async_trait]`: the trait stays usable as `dyn`, and so do both implementations.

use crate::stages::{compared, migration, step, walk};
use async_trait::async_trait;
use crossfade::{Refused, Stage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    token: String,
    pages: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the session has ended")]
    Ended,
}

type Result<T> = std::result::Result<T, SessionError>;

// No `refused`: the error is `From<Refused>`.
#[crossfade::dao]
#[async_trait]
pub(crate) trait Sessions: Send + Sync {
    #[write(key = session.token, mirror = replay)]
    async fn open(&self, session: Session) -> Result<()>;
    #[write(key = token)]
    async fn visit(&self, token: &str, page: Option<&str>, tags: &[String]) -> Result<()>;
    #[read(key = token)]
    async fn session(&self, token: &str) -> Result<Session>;
    #[snapshot]
    async fn snapshot(&self, token: &str) -> std::result::Result<Option<Session>, SessionError>;
    #[restore]
    async fn restore(&self, token: &str, seen: Option<&Session>, row: Option<&Session>) -> Result<bool>;
    #[source_only]
    fn name(&self) -> &'static str;
    /// A body of its own stays as it is.
    async fn first_page(&self, token: &str) -> Result<Option<String>> {
        Ok(self.session(token).await?.pages.into_iter().next())
    }
}

#[derive(Debug)]
struct Memory(&'static str, Mutex<BTreeMap<String, Session>>);

#[async_trait]
impl Sessions for Memory {
    async fn open(&self, session: Session) -> Result<()> {
        self.1.lock().unwrap().insert(session.token.clone(), session);
        Ok(())
    }
    async fn visit(&self, token: &str, page: Option<&str>, tags: &[String]) -> Result<()> {
        tokio::task::yield_now().await;
        let mut sessions = self.1.lock().unwrap();
        let session = sessions.get_mut(token).ok_or(SessionError::Ended)?;
        session.pages.extend(page.map(str::to_owned));
        session.pages.extend_from_slice(tags);
        Ok(())
    }
    async fn session(&self, token: &str) -> Result<Session> {
        self.1.lock().unwrap().get(token).cloned().ok_or(SessionError::Ended)
    }
    async fn snapshot(&self, token: &str) -> std::result::Result<Option<Session>, SessionError> {
        Ok(self.1.lock().unwrap().get(token).cloned())
    }
    async fn restore(&self, token: &str, seen: Option<&Session>, row: Option<&Session>) -> Result<bool> {
        let mut sessions = self.1.lock().unwrap();
        if sessions.get(token) != seen {
            return Ok(false);
        }
        match row {
            Some(row) => sessions.insert(token.to_owned(), row.clone()),
            None => sessions.remove(token),
        };
        Ok(true)
    }
    fn name(&self) -> &'static str {
        self.0
    }
}

#[tokio::test]
async fn boxed_sessions_pass_through_every_stage() {
    let (migration, control) = migration("sessions", false).await;
    let source: Arc<dyn Sessions> = Arc::new(Memory("old", Mutex::default()));
    let target: Arc<dyn Sessions> = Arc::new(Memory("new", Mutex::default()));
    let dao: Arc<dyn Sessions> =
        Arc::new(MigratingSessions::from_arcs(Arc::clone(&source), Arc::clone(&target), migration.clone()));
    for (place, position) in walk().into_iter().enumerate() {
        step(&migration, &control, &position).await;
        for user in 0..20 {
            let token = format!("{place}-{user}");
            dao.open(Session { token: token.clone(), pages: Vec::new() }).await.unwrap();
            dao.visit(&token, Some("/home"), &["new".to_owned()]).await.unwrap();
            dao.visit(&token, None, &[]).await.unwrap();
            assert_eq!(dao.session(&token).await.unwrap().pages, ["/home", "new"], "at {position}");
            assert_eq!(dao.first_page(&token).await.unwrap().as_deref(), Some("/home"));
            let mirrored = migration.stage_of(&token).unwrap();
            let (here, there) = (source.session(&token).await.is_ok(), target.session(&token).await.is_ok());
            assert_eq!(here, mirrored != Stage::Complete, "{mirrored}");
            assert_eq!(there, mirrored != Stage::Off, "{mirrored}");
        }
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert!(seen.total(|operation| operation.matched) >= 40, "{seen:?}");
    assert_eq!(dao.name(), "old");
    assert!(matches!(dao.session("").await, Err(SessionError::Refused(Refused::MissingKey(_)))));
}
