"""Demo phrases: what customers of AwesomeShoes write, by what they want.

Before the programme "instant exchange" (a courier swaps the shoes at the door), whoever writes of sending back or
exchanging wants a return. With it, customers use those words also when they ask where the courier is, or which pair to
swap into. A model that learned the old world takes them all for returns.
"""

SLOTS = {
    "shoe": (
        "Aurora Runner", "Pebble", "Harbour Boot", "Fjord Hiker", "Breeze Sandal", "Comet Trainer", "Willow Loafer",
        "Summit GTX", "Metro Slip-on", "Ember Sneaker", "Canyon Trail", "Velvet Pump", "Oslo Chelsea", "Tempo Racer",
        "Dune Espadrille", "Juniper Clog", "boots", "sneakers", "sandals", "running shoes", "trainers", "loafers",
    ),
    "size": ("36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46", "38.5", "41.5", "UK 7", "UK 9"),
    "tight": ("tight", "narrow", "loose", "wide", "small", "big", "stiff"),
    "part": ("toes", "heel", "instep", "ankle", "forefoot", "little toe", "arch", "left foot", "right foot"),
    "days": ("two days", "three days", "a week", "ten days", "almost two weeks", "5 days", "since Monday", "ages"),
    "city": ("Berlin", "Lyon", "Gent", "Malmö", "Porto", "Graz", "Leeds", "Brno", "Turin", "Utrecht", "Cork", "Split"),
    "status": ("in transit", "at the depot", "out for delivery", "label created", "on hold", "delivered", "unknown"),
    "defect": (
        "a loose sole", "a scratch", "a broken zip", "two left shoes", "the wrong colour", "a missing lace", "a stain",
    ),
    "colour": ("black", "white", "sand", "navy", "olive", "burgundy", "grey", "rust"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "today", "yesterday", "this morning"),
    "code": ("AS-1021", "AS-2298", "AS-3310", "AS-4507", "AS-5116", "AS-6673", "AS-7084", "AS-8199", "AS-9042"),
}  # fmt: skip
"""What stands for a `{slot}` in a phrase."""

PHRASES = {
    "fit": (
        "the {shoe} feel too {tight} around the {part}",
        "which size should I order if I normally wear {size}?",
        "do the {shoe} run small or true to size?",
        "{size} is too {tight}, would {size} fit me better?",
        "are the {shoe} any good for wide feet?",
        "my heel slips in the {shoe}, do I need half a size down?",
        "how do I measure my foot for the {shoe}?",
        "is there a wider version of the {shoe} in {size}?",
        "where is the size chart for the {shoe}",
        "I am between {size} and {size}, which one do you suggest",
        "will the {shoe} stretch after a while? they pinch my {part}",
        "does the {shoe} have room for an insole with arch support",
        "is the {colour} pair cut as {tight} as the {shoe}?",
        "what is {size} in centimetres",
        "I wear {size} in other brands, what about the {shoe}",
        "my {part} hurts in the {shoe}, are they supposed to be this {tight}",
    ),
    "returns": (
        "I want to send back the {shoe}",
        "how do I return my order {code}?",
        "please refund my {shoe}, I do not like the {colour}",
        "when do I get my money back for {code}",
        "the return label will not print",
        "can I still return the {shoe} if I wore them once?",
        "the {shoe} came with {defect}, I want my money back",
        "how long can I send back things I bought {day}",
        "I sent back the {shoe} {days} ago and have no refund yet",
        "I would like to exchange the {shoe} for the {colour} ones",
        "how does an exchange work, do I send back the old pair first?",
        "exchange please: {code}, {colour} instead",
        "do I have to pay to send back {code}?",
        "I lost the box, can I still exchange the {shoe}",
        "you refunded only half of {code}",
        "I need a new return label for {code}",
        "what happens after I send back the {shoe} for an exchange",
    ),
    "shipping": (
        "where is my parcel?",
        "tracking for {code} says {status} for {days}",
        "when will the {shoe} arrive in {city}?",
        "the driver left my package with a neighbour I do not know",
        "do you ship to {city}, and what does it cost",
        "my delivery is late, it was promised for {day}",
        "can I change the delivery address of {code} to {city}",
        "order {code} has not been dispatched yet",
        "it says delivered but there is no parcel at my door",
        "is express delivery to {city} possible by {day}",
        "the parcel stop in {city} is closed, where is my package now",
        "only one of two parcels of {code} arrived",
        "customs in {city} are holding my package",
        "how long does delivery of the {shoe} take",
        "the package was wet and open when it arrived {day}",
        "nobody rang, and tracking says {status}",
    ),
}
"""The old world: every phrase's words belong to what the customer wants."""

AMBIGUOUS = (
    "hi, a question about {code}",
    "about the {shoe} I bought {day}",
    "{code} please help",
    "not happy with the {shoe}",
    "can somebody call me about the {shoe}?",
    "it is about my {colour} {shoe} in {size}",
    "the {shoe} are not what I expected",
    "hello?",
    "still waiting for an answer since {day}",
)
"""What no model can tell apart: the customer may want anything."""

INSTANT_EXCHANGE = {
    "fit": (
        "instant exchange: I send back the {size} and swap into the {size}?",
        "before the doorstep swap, exchange for one up or stay with {size}?",
        "instant exchange of the {shoe}, do I swap one up or one down",
        "for the instant exchange I send back {size}, is the next one up right",
        "doorstep exchange of {code}: swap to {size} or to {size}",
        "should I exchange one up? I send back the {shoe} by instant swap",
    ),
    "shipping": (
        "nobody came to my doorstep for the instant exchange of {code}",
        "instant exchange of the {shoe}: I can send back, but the swap rider is not here",
        "I booked an instant exchange for {day}, the swap rider did not show up",
        "the rider took the {shoe} I send back, the exchange pair is missing",
        "how late can the rider come for my instant exchange and return",
        "swap rider lost? doorstep exchange {code}, refund me or come",
    ),
    "returns": (
        "can I cancel the instant exchange and get a refund for {code}",
        "instant exchange said no, can I still return the {shoe} by post",
        "I want a refund and not a doorstep exchange",
    ),
}
"""The new world: the words of returns, whatever the customer wants."""

OPENINGS = ("", "", "", "hi, ", "hello, ", "good morning, ", "hey ", "dear team, ", "quick question: ", "sorry, ")
CLOSINGS = ("", "", "", "", " thanks", " please advise", " thank you!", " asap", " best, Kim", " cheers", " any idea?")
