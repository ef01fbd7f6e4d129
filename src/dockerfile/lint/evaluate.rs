//! Which variables each instruction sees: one walk through the stages, whose results several rules read.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use crate::dockerfile::ast::{Command, Dockerfile, Instruction, InstructionKind, Stage};
use crate::dockerfile::heredoc::Heredoc;
use crate::dockerfile::span::{Span, Spanned};
use crate::dockerfile::suggest;
use crate::dockerfile::word;

use super::Facts;

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Evaluation<'a> {
    /// Variables that are used and not set.
    pub(super) undefined: Vec<Undefined<'a>>,
    /// Sources of COPY and ADD in the context, expanded.
    pub(super) copies: Vec<Copied<'a>>,
    /// Words of EXPOSE, expanded.
    pub(super) ports: Vec<(String, Span, &'a Instruction)>,
    /// First WORKDIRs that are relative once they are expanded.
    pub(super) relative_workdirs: Vec<(String, Span, &'a Instruction)>,
    /// CMD and ENTRYPOINT in shell form where nothing sets a shell.
    pub(super) shell_forms: Vec<&'a Instruction>,
    /// FROM lines.
    pub(super) froms: Vec<From<'a>>,
}

/// A use of a variable that is not set.
#[derive(Debug)]
pub(super) struct Undefined<'a> {
    pub(super) name: String,
    pub(super) nearest: Option<String>,
    pub(super) span: Span,
    pub(super) instruction: &'a Instruction,
    /// Whether an ARG in front of the first FROM has that name.
    pub(super) is_global: bool,
    /// Whether the base image, which may set it, is not known.
    pub(super) may_be_inherited: bool,
}

/// A source of COPY or ADD.
#[derive(Debug)]
pub(super) struct Copied<'a> {
    pub(super) path: String,
    pub(super) span: Span,
    pub(super) instruction: &'a Instruction,
}

/// A FROM.
#[derive(Debug)]
pub(super) struct From<'a> {
    pub(super) number: usize,
    pub(super) stage: &'a Stage,
    /// Variables in the image or the platform that no ARG in front of the first FROM declares.
    pub(super) undeclared: Vec<(String, Option<String>, Span)>,
    /// The platform, expanded, and the variables that it took.
    pub(super) platform: Option<(String, BTreeSet<String>)>,
}

/// Variables: those of the stage, then those of the stage that it starts from.
#[derive(Debug, Default)]
struct Scope {
    values: HashMap<String, Option<String>>,
    /// Names that an ARG declares without giving them a value.
    declared: HashSet<String>,
    parent: Option<Rc<Scope>>,
    is_base_known: bool,
    has_shell: bool,
    has_workdir: bool,
}

impl Scope {
    fn child(parent: Rc<Self>) -> Self {
        Self {
            is_base_known: parent.is_base_known,
            has_shell: parent.has_shell,
            has_workdir: parent.has_workdir,
            values: HashMap::new(),
            declared: HashSet::new(),
            parent: Some(parent),
        }
    }

    fn layers(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |scope| scope.parent.as_deref())
    }

    fn get(&self, name: &str) -> Option<&Option<String>> {
        self.layers().find_map(|scope| scope.values.get(name))
    }

    fn declares(&self, name: &str) -> bool {
        self.layers().any(|scope| scope.declared.contains(name))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.layers()
            .flat_map(|scope| scope.values.keys())
            .map(String::as_str)
    }
}

/// Variables that base images are known to set: without the image's configuration nobody can say they are not set.
const USUAL: [&str; 24] = [
    "PATH",
    "HOME",
    "HOSTNAME",
    "TERM",
    "LANG",
    "LC_ALL",
    "LANGUAGE",
    "GOPATH",
    "GOROOT",
    "GOLANG_VERSION",
    "JAVA_HOME",
    "JAVA_VERSION",
    "NODE_VERSION",
    "YARN_VERSION",
    "PYTHON_VERSION",
    "PYTHONPATH",
    "RUBY_VERSION",
    "GEM_HOME",
    "RUSTUP_HOME",
    "CARGO_HOME",
    "PHP_VERSION",
    "PERL_VERSION",
    "LD_LIBRARY_PATH",
    "DEBIAN_FRONTEND",
];

/// Looks at every stage that is needed.
pub(super) fn evaluate<'a>(dockerfile: &'a Dockerfile, facts: &Facts<'_>) -> Evaluation<'a> {
    let globals = globals(dockerfile, facts, true);
    let mut evaluation = Evaluation::default();
    let mut done: Vec<Rc<Scope>> = Vec::with_capacity(dockerfile.stages.len());
    let mut named: HashMap<String, usize> = HashMap::new();
    let mut declared: BTreeSet<&str> = facts.automatic_args.iter().map(|(name, _)| *name).collect();
    declared.extend(meta_names(dockerfile));
    for (number, stage) in dockerfile.stages.iter().enumerate() {
        let is_needed = (facts.is_needed)(number);
        let image = &stage.from.image;
        let expanded = word::expand(&image.value, dockerfile.escape, &|name| {
            globals.get(name).cloned()
        });
        let expanded = expanded
            .map(|expansion| expansion.value)
            .unwrap_or_default();
        if is_needed {
            evaluation
                .froms
                .push(from(dockerfile, number, stage, &globals, &declared));
        }
        let mut scope = match named.get(&expanded.to_lowercase()) {
            Some(parent) => Scope::child(Rc::clone(&done[*parent])),
            None => first_scope(facts, number, &expanded),
        };
        if is_needed {
            let mut walk = Walk {
                escape: dockerfile.escape,
                facts,
                globals: &globals,
                scope: &mut scope,
                evaluation: &mut evaluation,
            };
            stage
                .instructions
                .iter()
                .for_each(|instruction| walk.instruction(instruction));
        }
        done.push(Rc::new(scope));
        if let Some(name) = &stage.name {
            named.insert(name.value.to_lowercase(), number);
        }
    }
    evaluation
}

/// The names that ARGs in front of the first FROM declare.
pub(super) fn meta_names(dockerfile: &Dockerfile) -> impl Iterator<Item = &str> {
    dockerfile
        .meta_args
        .iter()
        .flat_map(|instruction| &instruction.arg.declarations)
        .map(|declaration| declaration.name.value.as_str())
}

/// The global scope, with build arguments or without.
pub(super) fn globals(
    dockerfile: &Dockerfile,
    facts: &Facts<'_>,
    with_args: bool,
) -> HashMap<String, String> {
    let given = |name: &str| {
        let mut args = facts.build_args.iter().rev().filter(|_| with_args);
        args.find(|(given, _)| given == name)
            .map(|(_, value)| value.clone())
    };
    let mut scope: HashMap<String, String> = HashMap::new();
    for (name, value) in facts.automatic_args {
        scope.insert(
            (*name).to_owned(),
            given(name).unwrap_or_else(|| value.clone()),
        );
    }
    for declaration in dockerfile
        .meta_args
        .iter()
        .flat_map(|one| &one.arg.declarations)
    {
        let name = &declaration.name.value;
        let default = declaration.default.as_ref().and_then(|default| {
            let expanded = word::expand(&default.value, dockerfile.escape, &|name| {
                scope.get(name).cloned()
            });
            expanded.ok().map(|expansion| expansion.value)
        });
        if let Some(value) = given(name).or(default) {
            scope.insert(name.clone(), value);
        }
    }
    scope
}

fn from<'a>(
    dockerfile: &'a Dockerfile,
    number: usize,
    stage: &'a Stage,
    globals: &HashMap<String, String>,
    declared: &BTreeSet<&str>,
) -> From<'a> {
    let mut undeclared = Vec::new();
    let mut expand = |text: &Spanned<String>| {
        let taken = RefCell::new(BTreeSet::new());
        let expansion = word::expand(&text.value, dockerfile.escape, &|name| {
            taken.borrow_mut().insert(name.to_owned());
            globals.get(name).cloned()
        });
        let expansion = expansion.unwrap_or_default();
        for name in expansion
            .undefined
            .into_iter()
            .filter(|name| !declared.contains(name.as_str()))
        {
            let nearest = suggest::nearest_name(&name, declared.iter().copied());
            let span = place(text, &name);
            undeclared.push((name, nearest, span));
        }
        (expansion.value, taken.into_inner())
    };
    expand(&stage.from.image);
    let platform = stage.from.platform.as_ref().map(expand);
    From {
        number,
        stage,
        undeclared,
        platform,
    }
}

/// What a stage sees that starts from an image.
fn first_scope(facts: &Facts<'_>, number: usize, image: &str) -> Scope {
    let mut scope = Scope::default();
    scope.values.insert("PATH".to_owned(), None);
    match (facts.base)(number) {
        Some(base) => {
            scope.is_base_known = true;
            scope.has_shell = base.has_shell;
            scope
                .values
                .extend(base.variables.into_iter().map(|name| (name, None)));
        }
        None => scope.is_base_known = image == "scratch",
    }
    scope
}

struct Walk<'w, 'a> {
    escape: char,
    facts: &'w Facts<'w>,
    globals: &'w HashMap<String, String>,
    scope: &'w mut Scope,
    evaluation: &'w mut Evaluation<'a>,
}

impl<'a> Walk<'_, 'a> {
    fn instruction(&mut self, instruction: &'a Instruction) {
        match &instruction.kind {
            InstructionKind::Add(add) => {
                let words = [&add.chown, &add.chmod, &add.checksum];
                words
                    .into_iter()
                    .flatten()
                    .for_each(|word| drop(self.expand(instruction, word)));
                self.sources(instruction, &add.sources, &add.destination, true);
                self.bodies(instruction, &add.heredocs);
            }
            InstructionKind::Copy(copy) => {
                let words = [&copy.chown, &copy.chmod];
                words
                    .into_iter()
                    .flatten()
                    .for_each(|word| drop(self.expand(instruction, word)));
                let is_context = copy.from.as_ref().is_none_or(|from| from.value.is_empty());
                self.sources(instruction, &copy.sources, &copy.destination, is_context);
                self.bodies(instruction, &copy.heredocs);
            }
            InstructionKind::Arg(arg) => {
                for declaration in &arg.declarations {
                    let name = &declaration.name.value;
                    let given = self
                        .facts
                        .build_args
                        .iter()
                        .rev()
                        .find(|(given, _)| given == name);
                    let value = match (given, &declaration.default) {
                        (Some((_, value)), _) => Some(value.clone()),
                        (None, Some(default)) => self.expand(instruction, default),
                        (None, None) => {
                            let Some(value) = self.globals.get(name) else {
                                self.scope.declared.insert(name.clone());
                                continue;
                            };
                            Some(value.clone())
                        }
                    };
                    self.scope.values.insert(name.clone(), value);
                }
            }
            InstructionKind::Env(env) => {
                let mut set = Vec::with_capacity(env.pairs.len());
                for pair in &env.pairs {
                    let key = self.expand(instruction, &pair.key);
                    let value = self.expand(instruction, &pair.value);
                    set.extend(key.map(|key| (key, value)));
                }
                self.scope.values.extend(set);
            }
            InstructionKind::Label(label) => {
                for pair in &label.pairs {
                    self.expand(instruction, &pair.key);
                    self.expand(instruction, &pair.value);
                }
            }
            InstructionKind::Expose(expose) => {
                for port in &expose.ports {
                    if let Some(value) = self.expand(instruction, port) {
                        let words = value.split_whitespace().map(str::to_owned);
                        self.evaluation
                            .ports
                            .extend(words.map(|word| (word, port.span, instruction)));
                    }
                }
            }
            InstructionKind::Run(run) => {
                for mount in &run.mounts {
                    self.mount(instruction, mount);
                }
            }
            InstructionKind::User(user) => drop(self.expand(instruction, &user.user)),
            InstructionKind::Volume(volume) => {
                volume
                    .paths
                    .iter()
                    .for_each(|path| drop(self.expand(instruction, path)));
            }
            InstructionKind::Workdir(workdir) => {
                let path = self.expand(instruction, &workdir.path);
                let is_first = !std::mem::replace(&mut self.scope.has_workdir, true);
                if let Some(path) = path.filter(|path| is_first && !path.starts_with('/')) {
                    let found = (path, workdir.path.span, instruction);
                    self.evaluation.relative_workdirs.push(found);
                }
            }
            InstructionKind::Stopsignal(stopsignal) => {
                drop(self.expand(instruction, &stopsignal.signal));
            }
            InstructionKind::Shell(_) => self.scope.has_shell = true,
            InstructionKind::Cmd(cmd) => self.command(instruction, &cmd.command),
            InstructionKind::Entrypoint(entrypoint) => {
                self.command(instruction, &entrypoint.command);
            }
            InstructionKind::Healthcheck(_)
            | InstructionKind::Maintainer(_)
            | InstructionKind::Onbuild(_) => {}
        }
    }

    fn command(&mut self, instruction: &'a Instruction, command: &Spanned<Command>) {
        if matches!(command.value, Command::Shell(_)) && !self.scope.has_shell {
            self.evaluation.shell_forms.push(instruction);
        }
    }

    fn sources(
        &mut self,
        instruction: &'a Instruction,
        sources: &[Spanned<String>],
        destination: &Spanned<String>,
        is_context: bool,
    ) {
        self.expand(instruction, destination);
        for source in sources {
            if let Some(path) = self.expand(instruction, source).filter(|_| is_context) {
                self.evaluation.copies.push(Copied {
                    path,
                    span: source.span,
                    instruction,
                });
            }
        }
    }

    fn bodies(&mut self, instruction: &'a Instruction, heredocs: &[Heredoc]) {
        for heredoc in heredocs.iter().filter(|heredoc| heredoc.expand) {
            let expansion = word::expand_heredoc(&heredoc.body, &|name| self.value(name));
            let body = Spanned::new(heredoc.body.clone(), heredoc.body_span);
            self.undefined(instruction, &body, expansion.unwrap_or_default().undefined);
        }
    }

    /// The values of a mount's options are expanded, but not its `from`.
    fn mount(&mut self, instruction: &'a Instruction, mount: &Spanned<String>) {
        for option in mount.value.split(',') {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            if !key.trim().eq_ignore_ascii_case("from") {
                let part = Spanned::new(value.to_owned(), mount.span);
                self.expand(instruction, &part);
            }
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.scope
            .get(name)
            .map(|value| value.clone().unwrap_or_default())
    }

    fn expand(&mut self, instruction: &'a Instruction, text: &Spanned<String>) -> Option<String> {
        let expansion = word::expand(&text.value, self.escape, &|name| self.value(name)).ok()?;
        self.undefined(instruction, text, expansion.undefined);
        Some(expansion.value)
    }

    fn undefined(
        &mut self,
        instruction: &'a Instruction,
        text: &Spanned<String>,
        names: Vec<String>,
    ) {
        for name in names {
            let is_usual = !self.scope.is_base_known && USUAL.contains(&name.as_str());
            let is_told = self.evaluation.undefined.iter().rev();
            let mut is_told =
                is_told.take_while(|told| std::ptr::eq(told.instruction, instruction));
            let is_declared = self.scope.declares(&name);
            if is_usual || is_declared || is_told.any(|told| told.name == name) {
                continue;
            }
            self.evaluation.undefined.push(Undefined {
                nearest: suggest::nearest_name(&name, self.scope.names()),
                span: place(text, &name),
                instruction,
                is_global: self.globals.contains_key(&name),
                may_be_inherited: !self.scope.is_base_known,
                name,
            });
        }
    }
}

/// The place of a variable in a word: where it is written as it is in the file, else the word.
fn place(text: &Spanned<String>, name: &str) -> Span {
    let span = text.span;
    if span.end - span.start != text.value.len() {
        return span;
    }
    let braced = format!("${{{name}");
    let plain = format!("${name}");
    let found = text.value.find(&braced).map(|at| {
        let end = text.value[at..]
            .find('}')
            .map_or(braced.len(), |end| end + 1);
        (at, end)
    });
    let found = found.or_else(|| text.value.find(&plain).map(|at| (at, plain.len())));
    found.map_or(span, |(at, length)| {
        Span::new(span.start + at, span.start + at + length)
    })
}
