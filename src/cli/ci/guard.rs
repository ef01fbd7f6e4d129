//! What a build may touch: whether it is pushed, and whose caches it uses.

use crate::ci::Found;

use super::super::UsageError;
use super::super::env::Env;
use super::super::flags::{self, BuildArgs};
use super::Platform;

impl Platform {
    /// Whether the image is pushed: not from a fork's change request, unless asked for by that name.
    pub(super) fn guard(&mut self, args: &mut BuildArgs, env: &Env) -> Result<(), UsageError> {
        match (args.ci.push, args.no_push) {
            (Some(push), Some(no_push)) if push == no_push => {
                return Err(UsageError::flag("--push", "--no-push says the contrary"));
            }
            (Some(push), _) => args.no_push = Some(!push),
            (None, _) => {}
        }
        let is_off = args.no_push.unwrap_or_else(|| {
            let variable = env
                .text("LONGSHORE_NO_PUSH")
                .or_else(|| env.text("KANIKO_NO_PUSH"));
            variable.and_then(flags::parse_bool) == Some(true)
        });
        if let Some(fork) = &self.facts.fork
            && !args.ci.push_from_forks
        {
            self.is_guarded = true;
            let caching = &mut args.caching;
            let writes = caching.cache
                || caching.cache_mounts
                || !caching.cache_to.is_empty()
                || !caching.cache_mounts_to.is_empty();
            if writes && !caching.no_push_cache {
                caching.no_push_cache = true;
                self.notices.push(format!(
                    "this is a change request from the fork {}: caches are read and not written (--push-from-forks allows it)",
                    fork.value
                ));
                self.decided.push((
                    "cache",
                    Found::new(
                        "only read",
                        format!("{}: a fork's change request", fork.source),
                    ),
                ));
            }
            if !is_off && !args.destination.is_empty() {
                args.no_push = Some(true);
                self.notices.push(format!(
                    "this is a change request from the fork {}: the image is built and not pushed, and no identity token is used (--push-from-forks allows both)",
                    fork.value
                ));
                self.decided.push((
                    "push",
                    Found::new("no", format!("{}: a fork's change request", fork.source)),
                ));
            }
        } else if !args.destination.is_empty() {
            let text = if is_off { "no" } else { "yes" };
            let by = match (args.ci.push, args.no_push) {
                (Some(_), _) => "--push",
                (None, Some(_)) => "--no-push",
                (None, None) => "the destinations",
            };
            self.decided.push(("push", Found::new(text, by)));
        }
        Ok(())
    }

    /// Names the caches of this build: those of layers are shared, since their keys say all that is in them; mounts are the branch's or the
    /// change request's own, so that a change cannot put files into the builds of the branch that it goes to.
    pub(super) fn scope(&mut self, args: &mut BuildArgs) {
        let caching = &mut args.caching;
        if !caching.cache_mounts_scope.is_empty() {
            let flag = "--cache-mounts-scope";
            let scopes = caching.cache_mounts_scope.iter();
            self.tell_scopes(scopes.map(|scope| Found::new(scope, flag)).collect());
        } else if self.ci.is_some() {
            let scopes = self.facts.cache_scopes();
            caching.cache_mounts_scope = scopes.iter().map(|scope| scope.value.clone()).collect();
            self.tell_scopes(scopes);
        }
    }

    fn tell_scopes(&mut self, scopes: Vec<Found>) {
        for (number, mut scope) in scopes.into_iter().enumerate() {
            if scope.value.is_empty() {
                "what all builds share".clone_into(&mut scope.value);
            }
            let what = match number {
                0 => "scope of cache mounts",
                _ => "scope of cache mounts, only read",
            };
            self.decided.push((what, scope));
        }
    }
}
