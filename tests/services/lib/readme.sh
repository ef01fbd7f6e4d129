# Sourced: the examples of the README, which are the ones that are tested.

readme_example() { # HEADING: the first block of code below it; a name of ten lines at most
  awk -v heading="#### $1" '$0 == heading { on = 1 } on && /^```/ { if (inside) exit; inside = 1; next } inside' README.md
}
at_most_ten_lines() { # HEADING
  local lines
  lines=$(readme_example "$1" | wc -l)
  [ "$lines" -gt 0 ] && [ "$lines" -le 10 ]
}
