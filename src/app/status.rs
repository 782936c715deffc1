//! What `systemctl status` shows while we run.

use tokio::sync::watch;

use crate::layermanager::Downloads;
use crate::supervisor::Notifier;

/// Tells systemd what there is to tell of `news`, and `else_told` when there is
/// nothing any more. Never ends; drop it when the process stops.
pub(super) async fn tell<T>(
    notifier: &Notifier,
    mut news: watch::Receiver<T>,
    else_told: &str,
    text: fn(&T) -> Option<String>,
) {
    while news.changed().await.is_ok() {
        let text = text(&news.borrow_and_update());
        notifier.status(text.as_deref().unwrap_or(else_told));
    }
    std::future::pending::<()>().await;
}

/// What there is to tell of downloads.
pub(super) fn downloads(downloads: &Downloads) -> Option<String> {
    (!downloads.is_empty()).then(|| downloads.to_string())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::net::UnixDatagram;

    use super::*;
    use crate::supervisor::Wishes;

    #[tokio::test]
    async fn status_follows_the_news_and_ends_as_it_was() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(&Wishes {
            socket: Some(path.into_os_string()),
            watchdog: None,
        });
        let (news, told) = watch::channel(None);
        let heard = async {
            let mut heard = Vec::new();
            for text in [Some("1 of 2 MB".to_owned()), None] {
                news.send_replace(text);
                let mut buffer = [0; 100];
                let length = systemd.recv(&mut buffer).await.unwrap();
                heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            heard
        };

        let heard = tokio::select! {
            () = tell(&notifier, told, "running", Option::clone) => unreachable!(),
            heard = heard => heard,
        };

        assert_eq!(heard, ["STATUS=1 of 2 MB", "STATUS=running"]);
    }
}
