//! The walls between the rooms, enforced.
