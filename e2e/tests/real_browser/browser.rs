//! A headless Chromium, driven over `WebDriver` by its own driver; both end with the test.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use e2e::harness::until;

/// How long the driver may take to listen, and the page to show something.
const WITHIN: Duration = Duration::from_secs(30);

/// How a browser looks at pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Width of the window.
    pub(crate) width: u32,
    /// Height of the window.
    pub(crate) height: u32,
    /// Whether its reader prefers dark pages.
    pub(crate) dark: bool,
}

impl View {
    /// A large screen, light.
    pub(crate) const DESK: Self = Self { width: 1920, height: 1080, dark: false };
}

/// One browser with one window.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    /// The driver's process group, in which the browser runs.
    group: Option<Pid>,
    client: Client,
    /// Where both keep their files; it goes with them.
    _files: TempDir,
}

impl Browser {
    /// Starts the driver on a free port and a browser with a fresh profile.
    ///
    /// # Errors
    /// `chromedriver` or `chromium` is missing, or did not start.
    pub(crate) async fn start(view: View) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", files.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("could not start chromedriver (Debian: chromium-driver)")?;
        let group = driver.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let port = port_of(&mut driver).await?;
        let scheme = i32::from(!view.dark);
        let options = json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            format!("--window-size={},{}", view.width, view.height),
            format!("--blink-settings=preferredColorScheme={scheme}"),
        ]});
        let wishes = [
            ("goog:chromeOptions".to_owned(), options),
            ("unhandledPromptBehavior".to_owned(), json!("ignore")),
        ];
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wishes.into_iter().collect())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .context("could not start chromium")?;
        Ok(Self { driver, group, client, _files: files })
    }

    /// Opens a page.
    pub(crate) async fn open(&self, url: &str) -> anyhow::Result<()> {
        Ok(self.client.goto(url).await?)
    }

    /// Loads the page again.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        Ok(self.client.refresh().await?)
    }

    /// What a person reads in the first element of a selector; none when there is no such element.
    pub(crate) async fn text(&self, css: &str) -> anyhow::Result<Option<String>> {
        let script = "const one = document.querySelector(arguments[0]); return one && one.innerText;";
        Ok(self.run(script, vec![json!(css)]).await?.as_str().map(str::to_owned))
    }

    /// Waits until a person reads `words` in the first element of a selector.
    pub(crate) async fn until_reads(&self, css: &str, words: &str) -> anyhow::Result<()> {
        let mut last = None;
        let seen = until(&format!("`{words}` in {css}"), WITHIN, || {
            let look = self.text(css);
            async { Ok(look.await?.filter(|text| text.contains(words)).map(|_| ())) }
        })
        .await;
        if seen.is_err() {
            last = self.text(css).await.ok().flatten();
        }
        seen.with_context(|| format!("there is {last:?}"))
    }

    /// Clicks the first element of a selector, as soon as there is one.
    pub(crate) async fn click(&self, css: &str) -> anyhow::Result<()> {
        self.act(&format!("a click on {css}"), css, async |element| element.click().await).await
    }

    /// Says yes to the question that the page asks, as soon as it does.
    pub(crate) async fn accept(&self) -> anyhow::Result<()> {
        until("a question", WITHIN, || async {
            match self.client.accept_alert().await {
                Ok(()) => Ok(Some(())),
                Err(error) if error.is_no_such_alert() => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Types into the first element of a selector, as soon as there is one.
    pub(crate) async fn fill(&self, css: &str, text: &str) -> anyhow::Result<()> {
        self.act(&format!("a text in {css}"), css, async |element| element.send_keys(text).await).await
    }

    /// Does something to the first element of a selector. The page may not be there yet, and a live one may put a new
    /// element in its place between the look and the act: then that is taken.
    async fn act(
        &self,
        what: &str,
        css: &str,
        act: impl AsyncFn(Element) -> Result<(), CmdError>,
    ) -> anyhow::Result<()> {
        until(what, WITHIN, || async {
            let acted = match self.client.find(Locator::Css(css)).await {
                Ok(element) => act(element).await,
                Err(error) => Err(error),
            };
            match acted {
                Ok(()) => Ok(Some(())),
                Err(error) if error.is_no_such_element() || error.is_stale_element_reference() => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Runs a script in the page and gives what it returns.
    pub(crate) async fn run(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<Value> {
        Ok(self.client.execute(script, arguments).await?)
    }

    /// As [`Browser::run`], for a script that calls its last argument with its answer.
    pub(crate) async fn run_async(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<Value> {
        Ok(self.client.execute_async(script, arguments).await?)
    }

    /// What the window shows, as PNG.
    pub(crate) async fn screenshot(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.client.screenshot().await?)
    }

    /// Ends the browser, then its driver.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.client.clone().close().await?;
        self.end_group();
        self.driver.wait().await?;
        Ok(())
    }

    fn end_group(&mut self) {
        if let Some(group) = self.group.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.end_group();
    }
}

/// The port that the driver says it took.
async fn port_of(driver: &mut Child) -> anyhow::Result<u16> {
    const BEFORE: &str = "started successfully on port ";
    let mut lines = BufReader::new(driver.stdout.take().context("stdout is piped")?).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, port)) = line.split_once(BEFORE) {
                return Ok(port.trim_end_matches('.').parse()?);
            }
        }
        anyhow::bail!("chromedriver ended without a port")
    };
    let port = tokio::time::timeout(WITHIN, reading).await.context("chromedriver did not say its port")??;
    ensure!(port != 0, "chromedriver took no port");
    Ok(port)
}
