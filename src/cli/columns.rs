//! Text in columns.

/// Rows of cells, each column as wide as its widest cell; the last one as it comes. Two spaces before, two between.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
    };
    // A column without any text takes no room.
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
            line.push_str("  ");
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(console::measure_text_width(cell))));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `1 right`, `2 rights`
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let text = columns(&[row(["a", "", "ccc", "d"]), row(["aaa", "", "c", ""])]);
        assert_eq!(text, "  a    ccc  d\n  aaa  c\n");
    }
}
