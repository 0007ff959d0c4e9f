//! Tables for people: aligned columns where they fit, else the last column in several lines, else a block
//! for each row.

use super::wrap::wrap;

/// Rows of escaped cells, the first of which is the header, in at most `width` columns if that is
/// possible without breaking a word. Two spaces stand before each line.
pub(super) fn table(rows: &[Vec<String>], width: Option<usize>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let whole = widths.iter().fold(0, |sum: usize, width| {
        sum.saturating_add(BETWEEN).saturating_add(*width)
    });
    let last = widths.last().copied().unwrap_or(0);
    let hang = whole.saturating_sub(last);
    match width {
        Some(width) if whole > width && hang.saturating_add(NARROWEST) > width => {
            blocks(rows, width)
        }
        Some(width) if whole > width => lines(rows, &widths, |line| wrap(line, width, hang)),
        Some(_) | None => lines(rows, &widths, str::to_owned),
    }
}

fn lines(rows: &[Vec<String>], widths: &[usize], wrap: impl Fn(&str) -> String) -> String {
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        wrap(format!("  {}", cells.join("  ")).trim_end())
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Each row as lines of a name and a cell; cells that are empty are left out.
fn blocks(rows: &[Vec<String>], width: usize) -> String {
    let Some((header, rows)) = rows.split_first() else {
        return String::new();
    };
    let name_width = header.iter().map(String::len).max().unwrap_or(0);
    let hang = name_width.saturating_add(2 * BETWEEN);
    let block = |row: &Vec<String>| {
        let cells = header.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let lines =
            cells.map(|(name, cell)| wrap(&format!("  {name:name_width$}  {cell}"), width, hang));
        lines.collect::<Vec<_>>().join("\n")
    };
    rows.iter().map(block).collect::<Vec<_>>().join("\n\n")
}

/// Spaces before each column.
const BETWEEN: usize = 2;
/// Columns that the last column needs to be readable in several lines.
const NARROWEST: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let rows = [
            ["NAME", "LIFE", "PURPOSE"],
            ["shop-db/migrate", "15m", "schema migrations of the shop"],
            ["x", "1h", ""],
        ];
        rows.iter()
            .map(|row| row.map(str::to_owned).to_vec())
            .collect()
    }

    #[test]
    fn a_table_fits_its_width_without_breaking_a_word() {
        insta::assert_snapshot!(table(&rows(), None), @"
        NAME             LIFE  PURPOSE
        shop-db/migrate  15m   schema migrations of the shop
        x                1h
        ");
        assert_eq!(table(&rows(), Some(80)), table(&rows(), None));
        insta::assert_snapshot!(table(&rows(), Some(46)), @"
        NAME             LIFE  PURPOSE
        shop-db/migrate  15m   schema migrations of
                               the shop
        x                1h
        ");
        insta::assert_snapshot!(table(&rows(), Some(34)), @"
        NAME     shop-db/migrate
        LIFE     15m
        PURPOSE  schema migrations of
                 the shop

        NAME     x
        LIFE     1h
        ");
        assert_eq!(table(&[], Some(1)), "");
    }
}
