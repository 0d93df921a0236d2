//! `rejoinder chat`: talks in a terminal, or for a script, with any server that speaks one of the APIs that this one does. It
//! knows servers from outside only.

use std::io::{IsTerminal, Read};

use futures_util::FutureExt;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::door::Door;
use self::input::{Input, Prompt};
use self::reply::{Failure, Follower, Reply};
use self::screen::Screen;
use self::thread::Thread;
use crate::cli::bench::reading::Api;
use crate::cli::bench::target::Target;
use crate::cli::event::{Ending, Happened, text_of_item};
use crate::cli::server::{Error, Server};
use crate::cli::{Exit, chain};

mod door;
mod reply;
mod thread;

mod input;
mod screen;
mod wrap;

/// The server to chat with, and how.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server, with or without /v1 at the end
    #[arg(default_value = "http://127.0.0.1:8080", env = "REJOINDER_URL")]
    pub(crate) url: String,

    /// The API to speak
    #[arg(long, value_enum, default_value_t = Api::Responses)]
    pub(crate) api: Api,

    /// Go on with this conversation, instead of beginning one; with --api ui it is the chat's name
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<String>,

    /// The model to talk with [default: the server's own]
    #[arg(long)]
    pub(crate) model: Option<String>,

    /// How the model is to answer
    #[arg(long, value_name = "TEXT")]
    pub(crate) instructions: Option<String>,

    /// Sent as a bearer token
    #[arg(long, env = "REJOINDER_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// Show each reply when it is complete
    #[arg(long)]
    pub(crate) no_stream: bool,
}

const EXAMPLES: &str = "\
At a terminal: Ctrl-C stops a reply, Ctrl-D leaves, /help lists the rest. When the server goes away in the middle of a \
reply, the chat rejoins it where it was.

For scripts: what is piped in is one message; the reply goes to standard output, and all else to standard error.

Examples:
  rejoinder chat
  rejoinder chat https://chat.example.org --model llama3.2 --instructions 'Answer in one sentence.'
  rejoinder chat --conversation conv_0123456789abcdef0123456789abcdef
  rejoinder chat --api websocket
  git diff | rejoinder chat --instructions 'Write a commit message.' > message.txt

Exit codes: 0 done; 1 the reply failed, was cut short or refused; 2 the command line is wrong; 3 the server cannot be \
reached; 130 stopped with Ctrl-C.";

/// Talks.
pub(crate) fn run(args: &Args) -> Exit {
    let server = match Server::new(&args.url, args.api_key.as_deref()) {
        Ok(server) => server,
        Err(error) => return fail(&error, Exit::Usage),
    };
    let started = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let guard = runtime.enter();
        let interrupts = signal(SignalKind::interrupt())?;
        drop(guard);
        Ok((runtime, interrupts))
    });
    let (runtime, interrupts) = match started {
        Ok(started) => started,
        Err(error) => return fail(&error, Exit::Bad),
    };
    if let Some(problem) = args.contradiction() {
        eprintln!("rejoinder chat: {problem}");
        return Exit::Usage;
    }
    let target = match args.api {
        Api::Websocket => match Target::resolve(&args.url, args.api_key.as_deref()) {
            Ok(target) => Some(target),
            Err(error) => return fail(&error, Exit::Usage),
        },
        Api::Responses | Api::Chat | Api::Ui => None,
    };
    let thread = Thread::new(args.api, args.conversation.clone());
    let mut chat = Chat {
        args,
        door: Door { api: args.api, server, target },
        interrupts,
        screen: Screen::of_process(),
        model: args.model.clone(),
        thread,
        known: false,
    };
    let result =
        if std::io::stdin().is_terminal() { talk(&runtime, &mut chat) } else { answer_once(&runtime, &mut chat) };
    result.unwrap_or_else(|failure| match &failure {
        Failure::Server(Error::Unreachable(..)) => fail(&failure, Exit::Unreachable),
        // The reader of the reply has had enough of it.
        Failure::Output(_) => Exit::Bad,
        Failure::Server(_) => fail(&failure, Exit::Bad),
    })
}

/// A chat that is going on.
struct Chat<'a> {
    args: &'a Args,
    door: Door,
    interrupts: Signal,
    screen: Screen,
    model: Option<String>,
    thread: Thread,
    known: bool,
}

impl Args {
    /// What is wrong with the words together.
    fn contradiction(&self) -> Option<&'static str> {
        match self.api {
            Api::Ui | Api::Websocket if self.no_stream => Some("with this --api a reply is always a stream"),
            Api::Chat if self.conversation.is_some() => {
                Some("with --api chat there are no conversations to go on with")
            }
            _ => None,
        }
    }
}

fn answer_once(runtime: &Runtime, chat: &mut Chat<'_>) -> Result<Exit, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let text = text.trim();
    if text.is_empty() {
        eprintln!("rejoinder chat: no message: pipe a message in, or start it at a terminal");
        return Ok(Exit::Usage);
    }
    let reply = runtime.block_on(chat.send(text))?;
    Ok(match reply.ending {
        Some(Ending::Complete) => Exit::Done,
        Some(Ending::Stopped) | None => Exit::Interrupted,
        Some(Ending::Cut(_) | Ending::Failed(_)) => Exit::Bad,
    })
}

fn talk(runtime: &Runtime, chat: &mut Chat<'_>) -> Result<Exit, Failure> {
    let mut prompt = match Prompt::open() {
        Ok(prompt) => prompt,
        Err(error) => return Ok(fail(&error, Exit::Bad)),
    };
    if !runtime.block_on(chat.begin_unless_interrupted())? {
        return Ok(Exit::Interrupted);
    }
    let mut interrupted = false;
    let exit = loop {
        match prompt.read() {
            Ok(Some(Input::Leave)) => break Exit::Done,
            Ok(Some(input)) => runtime.block_on(chat.take(input))?,
            Ok(None) if interrupted => break Exit::Interrupted,
            Ok(None) => {
                chat.screen.notice("(Ctrl-C again or Ctrl-D leaves)")?;
                interrupted = true;
                continue;
            }
            Err(error) => return Ok(fail(&error, Exit::Bad)),
        }
        interrupted = false;
    };
    chat.say_goodbye()?;
    Ok(exit)
}

impl Chat<'_> {
    /// Begins, and returns whether the person waited for it.
    async fn begin_unless_interrupted(&mut self) -> Result<bool, Failure> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        tokio::select! {
            begun = self.begin() => begun.map(|()| true),
            _ = interrupts.recv() => Ok(false),
        }
    }

    /// Finds the conversation, or makes one, and shows where we are.
    async fn begin(&mut self) -> Result<(), Failure> {
        match self.thread.clone() {
            Thread::Conversation(id) => {
                let items = self.door.server.items(&id, ITEMS_SHOWN).await?;
                self.screen.notice(&format!("{} · conversation {id}", self.door.server))?;
                self.show_items(&items)?;
            }
            Thread::Chat(name) if self.args.conversation.is_some() => {
                self.screen.notice(&format!("{} · chat {name}", self.door.server))?;
            }
            _ => self.begin_anew().await?,
        }
        self.known = true;
        self.screen.notice("Ctrl-C stops a reply, Ctrl-D leaves, /help lists more")?;
        Ok(())
    }

    async fn begin_anew(&mut self) -> Result<(), Failure> {
        self.thread = match self.args.api {
            Api::Responses | Api::Websocket => {
                self.door.server.create_conversation().await?.map_or(Thread::Previous(None), Thread::Conversation)
            }
            api => Thread::new(api, None),
        };
        let place = self.thread.place();
        self.screen.notice(&format!("{} · {place}", self.door.server))?;
        Ok(())
    }

    async fn take(&mut self, input: Input) -> Result<(), Failure> {
        let done = match input {
            Input::Message(text) => self.send(&text).await.map(drop),
            Input::New => self.begin_anew().await,
            Input::Model(model) => {
                self.model = model;
                let name = self.model.as_deref().unwrap_or("the server's own model");
                self.screen.notice(&format!("speaking to {name}")).map_err(Failure::from)
            }
            Input::Help => self.screen.notice(input::HELP).map_err(Failure::from),
            Input::Unknown(word) => {
                self.screen.problem(&format!("{word} is no command; /help lists them")).map_err(Failure::from)
            }
            Input::Nothing | Input::Leave => Ok(()),
        };
        match done {
            // The chat goes on: what failed can be sent again.
            Err(Failure::Server(error)) => Ok(self.screen.problem(&format!("({})", chain(&error)))?),
            other => other,
        }
    }

    /// Sends a message, after waiting for a reply that still holds the conversation.
    async fn send(&mut self, text: &str) -> Result<Reply, Failure> {
        self.forget_interrupts().await;
        if self.args.api == Api::Chat && self.model.is_none() {
            self.model = self.door.server.first_model().await?;
        }
        let (model, instructions) = (self.model.as_deref(), self.args.instructions.as_deref());
        let body = self.thread.body(text, model, instructions, !self.args.no_stream);
        let mut sent = self.follower().send(&body, &random_key()).await;
        for _ in 0..WAITS_FOR_OTHERS {
            let Err(Failure::Server(error)) = &sent else { break };
            let Some(running) = error.running_reply().map(str::to_owned) else { break };
            self.screen.notice("⟲ a reply is still being generated here")?;
            let other = self.follower().join(&running).await?;
            if other.ending.is_none() {
                // A person that does not wait for the other reply has not sent anything.
                return Ok(Reply { id: None, ending: None, text: String::new() });
            }
            sent = self.follower().send(&body, &random_key()).await;
        }
        let reply = sent?;
        self.known = true;
        self.thread.note(text, &reply);
        Ok(reply)
    }

    /// A Ctrl-C that came when there was nothing to stop is not meant for the next reply.
    async fn forget_interrupts(&mut self) {
        // The runtime learns of signals only where it is waited.
        tokio::task::yield_now().await;
        while self.interrupts.recv().now_or_never().is_some() {}
    }

    fn follower(&mut self) -> Follower<'_, std::io::Stdout, std::io::Stderr> {
        Follower::new(&self.door, self.thread.chat(), &mut self.screen, &mut self.interrupts, self.known)
    }

    /// The end of the conversation so far, so that one knows where one was.
    fn show_items(&mut self, items: &[Value]) -> Result<(), Failure> {
        for item in items {
            let text = text_of_item(item);
            match item["role"].as_str() {
                Some("user") => self.screen.notice(&format!("> {text}"))?,
                Some("assistant") => {
                    self.screen.show(&Happened::Text(text))?;
                    self.screen.show(&Happened::Ended(Ending::Complete))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn say_goodbye(&mut self) -> Result<(), Failure> {
        let (api, server) = (self.args.api, &self.door.server);
        match &self.thread {
            Thread::Conversation(id) if api == Api::Responses => {
                self.screen.notice(&format!("Come back with: rejoinder chat {server} --conversation {id}"))?;
            }
            Thread::Conversation(id) => {
                let words = format!("rejoinder chat {server} --api websocket --conversation {id}");
                self.screen.notice(&format!("Come back with: {words}"))?;
            }
            Thread::Chat(name) => {
                self.screen
                    .notice(&format!("Come back with: rejoinder chat {server} --api ui --conversation {name}"))?;
            }
            Thread::Previous(_) | Thread::Messages(_) => {}
        }
        Ok(())
    }
}

/// How many items of a conversation are shown to a person who comes back.
const ITEMS_SHOWN: usize = 6;
/// How many replies of others are waited for before a message is given up.
const WAITS_FOR_OTHERS: usize = 8;

fn random_key() -> String {
    data_encoding::HEXLOWER.encode(&rand::random::<[u8; 16]>())
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("rejoinder chat: {}", chain(error));
    exit
}
