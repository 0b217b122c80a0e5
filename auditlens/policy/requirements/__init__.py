"""What must stay answerable: which questions a policy leaves answerable, and the smallest policy that keeps them so."""
