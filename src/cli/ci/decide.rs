//! What is decided where nothing was typed: the context, certificates, files of outputs; names, pushing and caches are the others'.

use crate::ci::{Format, Found};

use super::super::UsageError;
use super::super::env::Env;
use super::super::flags::BuildArgs;
use super::Platform;

impl Platform {
    /// Fills in what was not typed.
    pub(super) fn decide(
        &mut self,
        args: &mut BuildArgs,
        is_executor: bool,
        env: &Env,
    ) -> Result<(), UsageError> {
        if is_executor
            && args.context.is_none()
            && args.context_directory.is_none()
            && let Some(found) = self.defaults.context.clone()
        {
            args.context = Some(found.value.clone());
            self.decided.push(("context", found));
        }
        let has_names = self.name(args)?;
        self.label(args, env, has_names);
        self.guard(args, env)?;
        self.scope(args);
        for (host, file) in &self.defaults.certificates {
            let prefix = format!("{host}=");
            if file.is_file()
                && !args
                    .registries
                    .registry_certificate
                    .iter()
                    .any(|text| text.starts_with(&prefix))
            {
                let text = format!("{prefix}{}", file.display());
                self.decided.push((
                    "certificate",
                    Found::new(text.clone(), "CI_SERVER_TLS_CA_FILE"),
                ));
                args.registries.registry_certificate.push(text);
            }
        }
        for text in &args.ci.ci_output {
            let wrong = || {
                UsageError::flag(
                    "--ci-output",
                    format_args!(
                        "\"{text}\" is not FORMAT=PATH with one of the formats github, dotenv, properties, json and tekton"
                    ),
                )
            };
            let (format, path) = text.split_once('=').ok_or_else(wrong)?;
            let format = Format::parse(format)
                .filter(|_| !path.is_empty())
                .ok_or_else(wrong)?;
            let path = std::path::absolute(path).map_err(|_| wrong())?;
            self.outputs.push((format, path));
        }
        Ok(())
    }
}
