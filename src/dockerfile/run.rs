//! What a RUN executes once its heredocs are taken into account.

use super::ast::{Command, Invocation, Run};
use super::heredoc;

impl Run {
    /// Returns what is executed: BuildKit's meaning of heredocs on RUN.
    ///
    /// A command line that is nothing but `<<NAME` is replaced by the document; otherwise the documents are put back
    /// behind the command line and the shell reads them itself.
    pub fn invocation(&self) -> Invocation {
        let text = match &self.command.value {
            Command::Exec(words) => return Invocation::Exec(words.clone()),
            Command::Shell(text) => text,
        };
        let Some(first) = self.heredocs.first() else {
            return Invocation::Shell(text.clone());
        };
        if heredoc::announcement(text, self.command.span).is_some() {
            let content = first.content().into_owned();
            if content.starts_with("#!") {
                let name = first.name.clone();
                return Invocation::Program { name, content };
            }
            return Invocation::Shell(content);
        }
        let mut script = text.clone();
        for heredoc in &self.heredocs {
            script.push('\n');
            script.push_str(&heredoc.body);
            script.push_str(&heredoc.name);
        }
        Invocation::Shell(script)
    }
}
