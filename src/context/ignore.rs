//! `.dockerignore`: which files of a context a build does not see.
