"""How benchmarks print what they have found."""


def print_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, cells in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def verdict(what, value, limit):
    is_met = value <= limit
    print(f"{'met   ' if is_met else 'MISSED'}  {what}: {value:.2f}, at most {limit:.2f}")
    return is_met
